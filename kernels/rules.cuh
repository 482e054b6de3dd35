// The formulas of the update rules, the same operations in the same order as `backend/cpu/rules.py`; RULE names one.
//
//   new_weight<FUSED>(rule, weight, gradient, state)   state[0], state[1] : the state planes of this weight, updated in place
//
// FUSED: a b + c is rounded once, as the CPU does for embeddings; the linear weight's is rounded twice.
#pragma once
#include "numbers.cuh"

#define SGD 0
#define ADAGRAD 1
#define ROWWISE_ADAGRAD 2
#define ADAM 3
#define FTRL 4

// Fields of the rule, in the order of `backend/rules.py`.
struct Rule {
    COMPUTE field[8];
};

constexpr int PLANES = RULE == SGD ? 0 : RULE == ADAM || RULE == FTRL ? 2 : 1;

template <bool FUSED>
__device__ __forceinline__ COMPUTE combine(COMPUTE a, COMPUTE b, COMPUTE c) {
    return FUSED ? multiply_add(a, b, c) : a * b + c;
}

template <bool FUSED>
__device__ __forceinline__ COMPUTE new_weight(const Rule& rule, COMPUTE weight, COMPUTE gradient, COMPUTE* state) {
    const COMPUTE* field = rule.field;
#if RULE == SGD
    return combine<FUSED>(gradient, -field[0], weight);
#elif RULE == ADAGRAD
    state[0] = combine<FUSED>(gradient, gradient, state[0]);
    return weight - gradient * field[0] / (root(state[0]) + field[1]);
#elif RULE == ROWWISE_ADAGRAD  // state[0] is the row's, with the mean square added
    return weight - gradient * field[0] / (root(state[0]) + field[1]);
#elif RULE == ADAM
    const COMPUTE beta1 = field[1], beta2 = field[2], rest1 = field[3], rest2 = field[4];
    state[0] = combine<FUSED>(beta1, state[0], rest1 * gradient);
    state[1] = combine<FUSED>(beta2, state[1], rest2 * gradient * gradient);
    return weight - field[0] * field[5] * state[0] / (root(field[6] * state[1]) + field[7]);
#elif RULE == FTRL
    const COMPUTE alpha = field[0], beta = field[1], l1 = field[2], l2 = field[3];
    const COMPUTE grown = combine<FUSED>(gradient, gradient, state[1]);
    const COMPUTE shift = (root(grown) - root(state[1])) / alpha;
    const COMPUTE z = state[0] + (gradient - shift * weight);
    state[0] = z;
    state[1] = grown;
    const COMPUTE kept = (z < -l1 ? -l1 : z > l1 ? l1 : z) - z;
    return kept / ((beta + root(grown)) / alpha + l2);
#endif
}
