// Pool, norm and activation of images in float32, on any processor.

#include "vectors.h"

using number = float;
#include "norm.h"
