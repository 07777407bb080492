// The experts' gate: scores, group limit, choice, weights. Too small to be worth vectors; every
// target uses this one, so the chosen experts do not depend on the target beyond the logits.
#include <cmath>
#include <limits>

#include "kernels/scalar/scalar.h"

namespace fathom::scalar {
namespace {

constexpr float kMasked = -std::numeric_limits<float>::infinity();
constexpr int32_t kMaxExperts = 1024;
constexpr int32_t kMaxGroups = kMaxExperts;

void score(const GatePolicy& p, const float* logits, float* scores) {
  if (p.sigmoid) {
    for (int32_t e = 0; e < p.experts; ++e) scores[e] = 1.0f / (1.0f + std::exp(-logits[e]));
    return;
  }
  float max = kMasked;
  for (int32_t e = 0; e < p.experts; ++e) max = logits[e] > max ? logits[e] : max;
  double sum = 0;
  for (int32_t e = 0; e < p.experts; ++e) {
    scores[e] = std::exp(logits[e] - max);
    sum += scores[e];
  }
  for (int32_t e = 0; e < p.experts; ++e) scores[e] = static_cast<float>(scores[e] / sum);
}

// Index of the largest value, the lowest one on ties.
int32_t best_of(const float* values, int32_t n) {
  int32_t best = 0;
  for (int32_t i = 1; i < n; ++i) {
    if (values[i] > values[best]) best = i;
  }
  return best;
}

float group_score(const GatePolicy& p, const float* choice) {
  const int32_t size = p.experts / p.groups;
  float first = kMasked;
  float second = kMasked;
  for (int32_t e = 0; e < size; ++e) {
    if (choice[e] > first) {
      second = first;
      first = choice[e];
    } else if (choice[e] > second) {
      second = choice[e];
    }
  }
  return p.group_by_top2 && size > 1 ? first + second : first;
}

// Leaves only the best groups in the running.
void limit_groups(const GatePolicy& p, float* choice) {
  float groups[kMaxGroups];
  bool kept[kMaxGroups] = {};
  const int32_t size = p.experts / p.groups;
  for (int32_t g = 0; g < p.groups; ++g) groups[g] = group_score(p, choice + g * size);
  for (int32_t i = 0; i < p.top_groups; ++i) {
    const int32_t g = best_of(groups, p.groups);
    kept[g] = true;
    groups[g] = kMasked;
  }
  for (int32_t e = 0; e < p.experts; ++e) {
    if (!kept[e / size]) choice[e] = kMasked;
  }
}

void gate(const GateArgs& a, int64_t begin, int64_t end) {
  const GatePolicy& p = a.policy;
  float scores[kMaxExperts];
  float choice[kMaxExperts];
  for (int64_t t = begin; t < end; ++t) {
    score(p, a.logits + t * p.experts, scores);
    for (int32_t e = 0; e < p.experts; ++e) choice[e] = scores[e] + (a.bias ? a.bias[e] : 0.0f);
    if (p.groups > 1) limit_groups(p, choice);

    int32_t* ids = a.ids + t * p.top_k;
    float* weights = a.weights + t * p.top_k;
    double sum = 0;
    for (int32_t k = 0; k < p.top_k; ++k) {
      ids[k] = best_of(choice, p.experts);
      choice[ids[k]] = kMasked;
      weights[k] = scores[ids[k]];
      sum += weights[k];
    }
    const float factor = p.normalize ? static_cast<float>(p.scale / (sum + 1e-20)) : p.scale;
    for (int32_t k = 0; k < p.top_k; ++k) weights[k] *= factor;
  }
}

}  // namespace

void add_gate(Ops& ops) {
  ops.gate = gate;
}

}  // namespace fathom::scalar
