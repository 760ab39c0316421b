"""Learnt features put to use on other data: computed once and kept, and a classifier fitted on them."""
