// Metrics of who may do what. docs/metrics.md lists them.
#ifndef RAMVOL_SERVER_ACCESS_ACCESS_METRICS_H_
#define RAMVOL_SERVER_ACCESS_ACCESS_METRICS_H_

#include <utility>
#include <vector>

#include "base/metrics/family.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "prometheus/metric_type.h"
#include "server/access/audit_log.h"
#include "server/access/authority.h"

namespace ramvol::metrics {

// Thread-safe.
class AccessMetrics final : public prometheus::Collectable {
 public:
  // Borrows both, which must outlive this; `audit` may be null.
  AccessMetrics(const access::Authority* authority,
                const access::AuditLog* audit)
      : authority_(*authority), audit_(audit) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    using prometheus::MetricType;
    const access::AuthorityStats stats = authority_.GetStats();
    prometheus::MetricFamily decisions =
        Family("ramvol_access_decisions_total",
               "Decisions of the policy, and tokens that were not known.",
               MetricType::Counter);
    AddCounter(decisions, {{"decision", "allowed"}}, stats.allowed);
    AddCounter(decisions, {{"decision", "denied"}}, stats.denied);
    AddCounter(decisions, {{"decision", "invisible"}}, stats.invisible);
    AddCounter(decisions, {{"decision", "unauthenticated"}},
               stats.unauthenticated);
    prometheus::MetricFamily reloads = Family(
        "ramvol_access_reloads_total",
        "How often the policy or the tokens were read.", MetricType::Counter);
    AddCounter(reloads, {{"result", "ok"}}, stats.reloads);
    AddCounter(reloads, {{"result", "refused"}}, stats.refused_reloads);
    prometheus::MetricFamily records =
        Family("ramvol_audit_records_total", "Records of the audit log.",
               MetricType::Counter);
    AddCounter(records, {{"result", "written"}},
               audit_ == nullptr ? 0 : audit_->written());
    AddCounter(records, {{"result", "lost"}},
               audit_ == nullptr ? 0 : audit_->lost());
    prometheus::MetricFamily operations =
        Family("ramvol_identity_throttled_operations_total",
               "Operations that had to wait because of the identity's limits.",
               MetricType::Counter);
    prometheus::MetricFamily waiting =
        Family("ramvol_identity_throttled_now",
               "Operations that wait because of the identity's limits.",
               MetricType::Gauge);
    for (const auto& [name, usage] : authority_.GetUsage()) {
      AddCounter(operations, {{"identity", name}}, usage.throttled_operations);
      AddGauge(waiting, {{"identity", name}}, usage.waiting);
    }
    std::vector<prometheus::MetricFamily> all = {
        std::move(decisions), std::move(reloads),
        Gauge("ramvol_access_files_current",
              "1 if the policy and the tokens are in force as their files "
              "have them, 0 if a change was refused.",
              stats.current ? 1 : 0),
        std::move(records)};
    if (!operations.metric.empty()) {
      all.push_back(std::move(operations));
      all.push_back(std::move(waiting));
    }
    return all;
  }

 private:
  const access::Authority& authority_;
  const access::AuditLog* const audit_;
};

}  // namespace ramvol::metrics

#endif  // RAMVOL_SERVER_ACCESS_ACCESS_METRICS_H_
