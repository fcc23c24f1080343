// A monitoring mixin: the dashboard, the alerts and the recording rules for Prometheus.
local groups = std.parseYaml(importstr 'alerts.yml').groups;
local select(key) = {
  groups+: [group for group in groups if std.objectHas(group.rules[0], key)],
};
{
  grafanaDashboards+:: { 'flux-jobs.json': import 'grafana-prometheus.json' },
  prometheusAlerts+:: select('alert'),
  prometheusRules+:: select('record'),
}
