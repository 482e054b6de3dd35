// Several labels of a sample: what each of them needs, gates of experts, and the chance that two events both happen.  See `backend/cpu/tasks.py`.
//
// Contract
//   A thread has a sample.  logit, labels, gate, logits (n, ..) : rows may lie apart.  exp and log are the device's own.
#include "numbers.cuh"

__device__ __forceinline__ float logarithm(float z) { return logf(z); }
__device__ __forceinline__ double logarithm(double z) { return log(z); }

// One task's column of what there is: its logits, its labels, 0 where one is not known, and what each sample counts: weight times weights (null: 1),
// 0 where its label is not known.
extern "C" __global__ void __launch_bounds__(256) of_task(
    const COMPUTE* logit, int64 logit_row, const float* labels, int64 labels_row, int64 n, float weight, const float* weights,
    COMPUTE* own_logit, float* own_labels, float* counts
) {
    const int64 i = thread_number();
    if (i >= n) return;
    const float label = labels[i * labels_row];
    const bool known = label == label;
    own_logit[i] = logit[i * logit_row];
    own_labels[i] = known ? label : 0.0f;
    counts[i] = !known ? 0.0f : weights == nullptr ? weight : weight * weights[i];
}

// p (n, experts) = softmax(gate)
extern "C" __global__ void __launch_bounds__(256) softmax(const COMPUTE* gate, int64 gate_row, int64 n, int32 experts, COMPUTE* p) {
    const int64 i = thread_number();
    if (i >= n) return;
    const COMPUTE* own = gate + i * gate_row;
    COMPUTE* result = p + i * experts;
    COMPUTE most = own[0], total = 0;
    for (int32 e = 1; e < experts; e++) most = own[e] > most ? own[e] : most;
    for (int32 e = 0; e < experts; e++) {
        const COMPUTE one = exponential(own[e] - most);
        result[e] = one;
        total += one;
    }
    for (int32 e = 0; e < experts; e++) result[e] = result[e] / total;
}

// both (n, 2) = a, and the logit of 1 / ((1 + exp(-a)) (1 + exp(-b))), of the logits a, b;  parts (n, 3) of its terms, by which it slopes
extern "C" __global__ void __launch_bounds__(256) both_happen(
    const COMPUTE* logits, int64 logits_row, int64 n, COMPUTE* both, COMPUTE* parts
) {
    const int64 i = thread_number();
    if (i >= n) return;
    const COMPUTE a = logits[i * logits_row], b = logits[i * logits_row + 1];
    COMPUTE terms[3] = {-a, -b, -a - b}, most = terms[0], whole = 0;
#pragma unroll
    for (int t = 1; t < 3; t++) most = terms[t] > most ? terms[t] : most;
#pragma unroll
    for (int t = 0; t < 3; t++) {
        terms[t] = exponential(terms[t] - most);
        whole += terms[t];
    }
#pragma unroll
    for (int t = 0; t < 3; t++) parts[3 * i + t] = terms[t] / whole;
    both[2 * i] = a;
    both[2 * i + 1] = -(most + logarithm(whole));
}

// slopes (n, 2) by a and b, from those by `both`
extern "C" __global__ void __launch_bounds__(256) both_happen_adjoint(
    const COMPUTE* gradient, const COMPUTE* parts, int64 n, COMPUTE* slopes
) {
    const int64 i = thread_number();
    if (i >= n) return;
    const COMPUTE g = gradient[2 * i + 1];
    slopes[2 * i] = gradient[2 * i] + g * (parts[3 * i] + parts[3 * i + 2]);
    slopes[2 * i + 1] = g * (parts[3 * i + 1] + parts[3 * i + 2]);
}
