#include "core/simplex_qp.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "cpu/parallel.hpp"

namespace voxridge {
namespace {

constexpr double kEps = std::numeric_limits<double>::epsilon();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kCopies = 1e-12;    // relative squared distance of two models that count as one
constexpr double kNegative = -1e-9;  // relative curvature below which P is not semidefinite, whatever the rounding
constexpr index_t kNobody = -1;
constexpr index_t kTargets = 128;    // targets of one job
constexpr index_t kPolled = 256;     // jobs between two polls

// One programme after the other, in memory that is kept. Scaled by a power of two, so that no square overflows.
class Programme {
public:
    explicit Programme(index_t m)
        : m_(m), p_(size(m * m)), factor_(size((m + 1) * m)), q_(size(m)), w_(size(m)), step_(size(m + 1)), gradient_(size(m)), rounding_(size(m)), model_(size(m)), kept_(size(m)), copies_(size(m)), rejected_(size(m)) {}

    // Returns the gap; `p` begins at this target's first row.
    double solve(Matrix<const double> p, const double* q, double* weights) {
        const double scale = load(p, q);
        double gap = std::isfinite(scale) ? 0.0 : kNaN;
        if (std::isfinite(scale) && (!merge_copies() || !minimise())) gap = kInfinity;
        if (gap != 0.0) {
            std::fill_n(weights, m_, gap == 0.0 ? 0.0 : kNaN);
            return gap;
        }
        expand(weights);
        return scale * certify(weights);
    }

private:
    static std::size_t size(index_t n) { return static_cast<std::size_t>(n); }
    double& at(std::vector<double>& a, index_t i, index_t j) const { return a[size(i * m_ + j)]; }
    double& p(index_t i, index_t j) { return at(p_, i, j); }
    double& factor(index_t i, index_t j) { return at(factor_, i, j); }
    double& w(index_t i) { return w_[size(i)]; }
    index_t n_active() const { return static_cast<index_t>(active_.size()); }
    index_t active(index_t i) const { return active_[size(i)]; }

    // Both triangles, and q, over a power of two that is returned; not finite where something is not.
    double load(Matrix<const double> source, const double* q) {
        double most = 0.0;
        bool finite = true;
        for (index_t i = 0; i < m_; ++i) {
            for (index_t j = 0; j <= i; ++j) finite = finite && std::isfinite(p(i, j) = p(j, i) = source.row(i)[j]);
            for (index_t j = 0; j <= i; ++j) most = std::max(most, std::abs(p(i, j)));
            q_[size(i)] = q ? q[i] : 0.0;
            finite = finite && std::isfinite(q_[size(i)]);
            most = std::max(most, std::abs(q_[size(i)]));
        }
        if (!finite) return kNaN;
        if (most == 0.0) return 1.0;
        const int exponent = std::ilogb(most);
        for (double& value : p_) value = std::ldexp(value, -exponent);
        for (double& value : q_) value = std::ldexp(value, -exponent);
        return std::ldexp(1.0, exponent);
    }

    // kept_[i]: the first model that i is a copy of; model_: those that are copies of none. False where P is not semidefinite.
    bool merge_copies() {
        n_ = 0;
        for (index_t i = 0; i < m_; ++i) {
            index_t found = i;
            for (index_t j = 0; j < i; ++j) {
                const double size_of_both = p(i, i) + p(j, j), distance = size_of_both - 2 * p(i, j);
                const double linear = std::abs(q_[size(i)] - q_[size(j)]);
                const double largest = std::max({std::abs(q_[size(i)]), std::abs(q_[size(j)]), size_of_both});
                if (distance < kNegative * std::max(size_of_both, 2 * std::abs(p(i, j)))) return false;
                if (found == i && kept_[size(j)] == j && distance <= kCopies * size_of_both && linear <= kCopies * largest) found = j;
            }
            if (p(i, i) < 0.0) return false;
            kept_[size(i)] = found;
            copies_[size(i)] = 0;
            ++copies_[size(found)];
            if (found == i) model_[size(n_++)] = i;
        }
        return true;
    }

    bool minimise() {
        start();
        bool polished = false;  // one more step on the last active set takes the rounding of the one before away
        for (index_t step = 0; step < 100 * (n_ + 1); ++step) {
            const index_t entering = steepest();
            if (entering >= 0) {
                if (!enter(entering)) return false;
                polished = false;
            } else if (!polished) {
                descend(kNobody);
                polished = true;
            } else {
                return true;
            }
        }
        return true;  // the gap will tell how far it came
    }

    void start() {
        index_t best = model_[0];  // the best single model
        for (index_t k = 0; k < n_; ++k) {
            const index_t i = model_[size(k)];
            if (p(i, i) + q_[size(i)] < p(best, best) + q_[size(best)]) best = i;
        }
        std::ranges::fill(w_, 0.0);
        std::ranges::fill(rejected_, false);
        w(best) = 1.0;
        active_.assign(1, best);
    }

    // The model outside the active set with the steepest descent, beyond rounding; kNobody: the weights are optimal.
    index_t steepest() {
        differentiate();
        double level = 0.0, doubt = 0.0, least = 0.0;
        for (const index_t i : active_) level += w(i) * gradient_[size(i)], doubt += w(i) * rounding_[size(i)];
        index_t entering = kNobody;
        for (index_t k = 0; k < n_; ++k) {
            const index_t i = model_[size(k)];
            if (w(i) > 0.0 || rejected_[size(i)]) continue;
            const double slope = gradient_[size(i)] - level;
            if (slope < least && slope < -64 * kEps * (rounding_[size(i)] + doubt)) least = slope, entering = i;
        }
        return entering;
    }

    // gradient_ and the sizes of what it is the sum of, for every model.
    void differentiate() {
        for (index_t i = 0; i < m_; ++i) {
            double sum = q_[size(i)], sizes = std::abs(sum);
            for (const index_t j : active_) sum += 2 * p(i, j) * w(j), sizes += 2 * std::abs(p(i, j)) * w(j);
            gradient_[size(i)] = sum;
            rounding_[size(i)] = sizes;
        }
    }

    // A model enters, and the weights go to the least value of the objective on the active set. False where P is not semidefinite.
    bool enter(index_t entering) {
        double pivot = extend(entering);
        bool slid = false;
        while (!active_.empty() && pivot <= 32 * static_cast<double>(m_) * kEps * sizes(entering)) {
            if (pivot < kNegative * sizes(entering)) return false;
            slide(entering);  // no curvature on the way to here: downhill until a weight is used up
            slid = true;
            pivot = extend(entering);
        }
        active_.push_back(entering);
        if (n_active() > 1) factor(n_active() - 1, n_active() - 1) = std::sqrt(pivot);
        descend(slid ? kNobody : entering);
        if (p(entering, entering) < p(reference(), reference()) && w(entering) > 0.0) refer();
        return true;
    }

    // The factor is that of the Gram matrix of the edges from the reference, active_[0], to the other active models; its row 0 is not
    // used. Edges from the model of the least residuals keep what small residuals say beside large ones.
    index_t reference() const { return active_[0]; }
    double edges(index_t i, index_t j) {
        const index_t r = reference();
        return (p(i, j) - p(r, j)) - (p(i, r) - p(r, r));
    }
    double sizes(index_t i) { return p(i, i) + p(reference(), reference()); }

    // Row k of the factor for a model, but for its diagonal, whose square is returned.
    double extend(index_t k, index_t model) {
        double pivot = edges(model, model);
        for (index_t i = 1; i < k; ++i) {
            double sum = edges(model, active(i));
            for (index_t j = 1; j < i; ++j) sum -= factor(i, j) * factor(k, j);
            factor(k, i) = sum / factor(i, i);
            pivot -= factor(k, i) * factor(k, i);
        }
        return pivot;
    }
    double extend(index_t entering) { return active_.empty() ? 0.0 : extend(n_active(), entering); }

    // Rows from `first` on. They were rows of a factor with more models in it, so their pivots have only grown, but for rounding.
    void refactor(index_t first) {
        for (index_t i = std::max<index_t>(first, 1); i < n_active(); ++i)
            factor(i, i) = std::sqrt(std::max(extend(i, active(i)), kEps * sizes(active(i))));
    }

    // The active model of the least residuals becomes the reference.
    void refer() {
        index_t least = 0;
        for (index_t i = 1; i < n_active(); ++i)
            if (p(active(i), active(i)) < p(active(least), active(least))) least = i;
        std::swap(active_[0], active_[size(least)]);
        refactor(1);
    }

    // The entering model equals an affine mixture of the active ones: weight goes from these to it until one of theirs is 0.
    void slide(index_t entering) {
        const index_t k = n_active();
        for (index_t i = 1; i < k; ++i) step_[size(i)] = factor(k, i);
        solve_upper();
        double length = kInfinity;
        index_t blocking = 0;
        for (index_t i = 0; i < k; ++i)
            if (step_[size(i)] > 0.0 && w(active(i)) < length * step_[size(i)]) length = w(active(i)) / step_[size(i)], blocking = i;
        for (index_t i = 0; i < k; ++i) w(active(i)) -= length * step_[size(i)];
        w(entering) += length;
        w(active(blocking)) = 0.0;
        drop_empty();
    }

    // To the minimum on the active set; models whose weight would fall below 0 leave it on the way. The one that has just entered must
    // rise from 0: where it does not, rounding is all there was to gain, and it is left out until something else has changed.
    void descend(index_t entering) {
        while (n_active() > 1) {
            stationary();
            double length = 1.0;
            index_t blocking = kNobody;
            for (index_t i = 0; i < n_active(); ++i) {
                const double from = w(active(i)), to = from + step_[size(i)];
                if (to > 0.0) continue;
                if (active(i) == entering) {
                    active_.pop_back();
                    rejected_[size(entering)] = true;
                    return;
                }
                if (blocking == kNobody || from < length * (from - to)) length = from / (from - to), blocking = i;
            }
            for (index_t i = 0; i < n_active(); ++i) w(active(i)) += length * step_[size(i)];
            if (blocking == kNobody) break;
            w(active(blocking)) = 0.0;
            drop_empty();
            entering = kNobody;
        }
        if (n_active() == 1) w(reference()) = 1.0;
        std::ranges::fill(rejected_, false);
    }

    // step_: from the weights to the least w'Pw + q'w with sum 1 on the active set, of either sign.
    void stationary() {
        differentiate();
        for (index_t i = 1; i < n_active(); ++i) {
            double sum = 0.5 * (gradient_[size(reference())] - gradient_[size(active(i))]);
            for (index_t j = 1; j < i; ++j) sum -= factor(i, j) * step_[size(j)];
            step_[size(i)] = sum / factor(i, i);
        }
        solve_upper();
        step_[0] -= 1.0;  // a step, not a mixture
    }

    // step_ <- the edges' coefficients of which the factor's transpose makes step_; the reference's complement their sum to 1.
    void solve_upper() {
        double rest = 1.0;
        for (index_t i = n_active() - 1; i >= 1; --i) {
            for (index_t j = i + 1; j < n_active(); ++j) step_[size(i)] -= factor(j, i) * step_[size(j)];
            step_[size(i)] /= factor(i, i);
            rest -= step_[size(i)];
        }
        step_[0] = rest;
    }

    void drop_empty() {
        index_t kept = 0, changed = n_active();
        const index_t before = reference();
        for (index_t i = 0; i < n_active(); ++i) {
            const index_t model = active(i);
            if (w(model) > 0.0) {
                active_[size(kept++)] = model;
            } else {
                w(model) = 0.0;
                changed = std::min(changed, i);
            }
        }
        active_.resize(size(kept));
        if (kept == 0) return;
        if (reference() == before)
            refactor(changed);
        else
            refer();
    }

    void expand(double* weights) {
        double total = 0.0;
        for (const index_t i : active_) total += w(i);
        for (index_t i = 0; i < m_; ++i) {
            const index_t first = kept_[size(i)];
            weights[i] = w(first) / total / static_cast<double>(copies_[size(first)]);
        }
    }

    // w'g - min g, of the scaled programme.
    double certify(const double* weights) {
        double level = 0.0, least = kInfinity;
        for (index_t i = 0; i < m_; ++i) {
            double sum = q_[size(i)];
            for (index_t j = 0; j < m_; ++j) sum += 2 * p(i, j) * weights[j];
            level += weights[i] * sum;
            least = std::min(least, sum);
        }
        return std::max(0.0, level - least);
    }

    index_t m_, n_ = 0;
    std::vector<double> p_, factor_, q_, w_, step_, gradient_, rounding_;
    std::vector<index_t> model_, kept_, copies_, active_;
    std::vector<char> rejected_;
};

}  // namespace

void simplex_qp(Matrix<const double> p, Matrix<const double> q, Matrix<double> weights, double* gaps, int n_threads, const Poll& poll) {
    const index_t m = p.cols, n_targets = weights.rows;
    require(m >= 1 && weights.cols == m && p.rows == n_targets * m, "simplex_qp: p is ", shape{p.rows, p.cols}, " and weights ",
            shape{weights.rows, weights.cols}, "; ", n_targets, " targets of ", m, " models need p ", shape{n_targets * m, m});
    require(q.data == nullptr || (q.rows == n_targets && q.cols == m), "simplex_qp: q is ", shape{q.rows, q.cols}, ", weights ",
            shape{n_targets, m});
    const index_t jobs = (n_targets + kTargets - 1) / kTargets;
    for (index_t done = 0; done < jobs; done += kPolled) {
        poll();
        parallel_for(std::min(kPolled, jobs - done), n_threads, [&](index_t job) {
            Programme programme(m);
            const index_t first = (done + job) * kTargets;
            for (index_t v = first; v < std::min(first + kTargets, n_targets); ++v)
                gaps[v] = programme.solve(p.block(v * m, 0, m, m), q.data ? q.row(v) : nullptr, weights.row(v));
        });
    }
}

}  // namespace voxridge
