// Pool, norm and activation (norm.h) of images in float32, on any processor.

#include "norm.h"

extern "C" void pool_norm_act(const Shape* shape, int activation, float alpha, const float* x,
                              const float* weight, const float* bias, float eps, int known, float* mean,
                              float* invstd, float* variance, float* pooled, uint8_t* where, float* y) {
    with_activation(activation, alpha, [&](auto act) {
        forward(*shape, act, x, weight, bias, eps, known, mean, invstd, variance, pooled, where, y);
    });
}

extern "C" void pool_norm_act_backward(const Shape* shape, int activation, float alpha, const float* g,
                                       const float* middle, const uint8_t* where, const float* weight,
                                       const float* bias, const float* mean, const float* invstd,
                                       float* scratch, float* dx, float* dweight, float* dbias) {
    with_activation(activation, alpha, [&](auto act) {
        backward(*shape, act, g, middle, where, weight, bias, mean, invstd, scratch, dx, dweight, dbias);
    });
}
