// Closes the target region that f32/avx2.h or f32/avx512.h opened.
#ifdef V_TARGET_REGION
#pragma clang attribute pop
#undef V_TARGET_REGION
#endif
