//! The value to send for a metric: a pure function of the metric, and of what was sent to the
//! server before.

use super::publisher::{GaugeMode, Metric};
use crate::collectors::MetricKind;
use crate::stats::Value;

/// The last value of a metric that was sent to a server successfully.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// The level of a gauge; the total of a counter.
    pub value: i64,
    /// `false` if the server may not have the value: before the first one, after a refusal,
    /// and when a resync begins.
    pub is_known: bool,
    /// `true` if the metric is listed in [`Connection::pending`](super::connection).
    pub is_pending: bool,
}

impl Sent {
    /// The value to send, and the value that the server has then; `None` if it has the value.
    /// `is_final` is set if no later value follows: the plugin or the server is removed.
    #[inline]
    pub fn due(&self, metric: &Metric, mode: GaugeMode, is_final: bool) -> Option<(Value, i64)> {
        let is_final = is_final || metric.is_retired;
        let target = self.target(metric, mode, is_final)?;
        if metric.kind == MetricKind::Counter {
            let by = target - self.value;
            // Prometheus ignores the first increment of a series that does not start with 0.
            let is_due = by != 0 || !self.is_known && !is_final;
            return is_due.then_some((Value::Count(by), target));
        }
        let before = match (self.is_known, mode) {
            // A server without a value shows the sum of what the other instances sent.
            (false, GaugeMode::Shared) => Some(0),
            (true, GaugeMode::Shared) => Some(self.value),
            // After the final value, nothing corrects lost datagrams.
            (is_known, _) => (is_known && !is_final).then_some(self.value),
        };
        match before {
            Some(before) if before == target => None,
            Some(before) if mode != GaugeMode::Values => {
                Some((Value::GaugeAdd(target - before), target))
            }
            _ => Some((Value::GaugeSet(target), target)),
        }
    }

    /// The value that the server should have, `None` if the metric needs none.
    ///
    /// The final value of a gauge is 0, because it is no longer updated, except that a count
    /// of inactive jobs stays valid. An instance that shares its gauges subtracts what it
    /// added.
    #[inline]
    fn target(&self, metric: &Metric, mode: GaugeMode, is_final: bool) -> Option<i64> {
        match metric.kind {
            MetricKind::Timing => None,
            // If sharing has just been configured, the last value is removed.
            MetricKind::Unshared if mode == GaugeMode::Shared => (self.value != 0).then_some(0),
            MetricKind::Counter => metric.level,
            _ if !is_final => metric.level,
            // A server that does not have the gauge needs no final value of it.
            _ if metric.is_retired && !self.is_known && self.value == 0 => None,
            MetricKind::TableCount if mode != GaugeMode::Shared => metric.level,
            _ if metric.level.is_none() && self.value == 0 => None,
            _ => Some(0),
        }
    }

    /// `true` if the server's gauge rises with this value, or appears.
    #[inline]
    pub fn is_rising(&self, value: Value) -> bool {
        match value {
            Value::GaugeAdd(by) => by > 0,
            Value::GaugeSet(level) => !self.is_known || level > self.value,
            Value::Count(_) | Value::Timing(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Value::{Count, GaugeAdd, GaugeSet};

    fn metric(kind: MetricKind, level: Option<i64>) -> Metric {
        Metric { template: None, kind, level, is_retired: false, has_changed: false }
    }

    const fn sent(value: i64, is_known: bool) -> Sent {
        Sent { value, is_known, is_pending: false }
    }

    #[test]
    fn the_value_depends_on_what_was_sent_before() {
        let sum = |level| metric(MetricKind::JobSum, Some(level));
        let (none, three, forgotten) = (Sent::default(), sent(3, true), sent(3, false));
        // The level, what was sent, and the value with increments, with values, and shared.
        let table = [
            (0, none, Some(GaugeSet(0)), Some(GaugeSet(0)), None),
            (5, none, Some(GaugeSet(5)), Some(GaugeSet(5)), Some(GaugeAdd(5))),
            (3, three, None, None, None),
            (5, three, Some(GaugeAdd(2)), Some(GaugeSet(5)), Some(GaugeAdd(2))),
            (0, three, Some(GaugeAdd(-3)), Some(GaugeSet(0)), Some(GaugeAdd(-3))),
            (3, forgotten, Some(GaugeSet(3)), Some(GaugeSet(3)), Some(GaugeAdd(3))),
        ];
        for (level, sent, increments, values, shared) in table {
            let due = |mode| sent.due(&sum(level), mode, false).map(|(value, _)| value);
            assert_eq!(due(GaugeMode::Increments), increments, "{level} after {sent:?}");
            assert_eq!(due(GaugeMode::Values), values, "{level} after {sent:?}");
            assert_eq!(due(GaugeMode::Shared), shared, "{level} after {sent:?}");
        }
    }

    #[test]
    fn a_gauge_ends_at_0_where_it_was_sent_and_a_count_keeps_its_value() {
        use MetricKind::{BrokerStatus, JobSum, TableCount};
        let (never, known, forgotten) = (Sent::default(), sent(3, true), sent(3, false));
        // The kind, the level, what was sent, and the final value alone and shared.
        let table = [
            (JobSum, Some(3), never, Some(GaugeSet(0)), None),
            (JobSum, Some(3), known, Some(GaugeSet(0)), Some(GaugeAdd(-3))),
            (JobSum, Some(3), forgotten, Some(GaugeSet(0)), None),
            (TableCount, Some(7), known, Some(GaugeSet(7)), Some(GaugeAdd(-3))),
            (TableCount, Some(7), forgotten, Some(GaugeSet(7)), None),
            (TableCount, None, known, None, Some(GaugeAdd(-3))),
            (BrokerStatus, None, never, None, None),
            (BrokerStatus, None, known, Some(GaugeSet(0)), Some(GaugeAdd(-3))),
            (BrokerStatus, None, forgotten, Some(GaugeSet(0)), None),
        ];
        for (kind, level, sent, alone, shared) in table {
            let due = |mode| sent.due(&metric(kind, level), mode, true).map(|(value, _)| value);
            assert_eq!(due(GaugeMode::Increments), alone, "{kind:?} {level:?} after {sent:?}");
            assert_eq!(due(GaugeMode::Shared), shared, "{kind:?} {level:?} after {sent:?}");
        }
    }

    #[test]
    fn a_retired_gauge_ends_at_0_where_the_server_has_it() {
        let retired = |kind| Metric { is_retired: true, ..metric(kind, Some(3)) };
        let due = |sent: Sent, kind| {
            sent.due(&retired(kind), GaugeMode::Increments, false).map(|(value, _)| value)
        };
        assert_eq!(due(sent(3, true), MetricKind::JobSum), Some(GaugeSet(0)));
        assert_eq!(due(sent(0, true), MetricKind::JobSum), Some(GaugeSet(0)));
        assert_eq!(due(sent(3, false), MetricKind::JobSum), Some(GaugeSet(0)), "in a resync");
        assert_eq!(due(Sent::default(), MetricKind::JobSum), None);
        assert_eq!(due(sent(2, true), MetricKind::TableCount), Some(GaugeSet(3)));
    }

    #[test]
    fn a_counter_is_sent_as_the_increase_of_its_total_after_0() {
        let table = [
            (0, Sent::default(), Some(Count(0))),
            (2, Sent::default(), Some(Count(2))),
            (2, sent(2, true), None),
            (5, sent(2, true), Some(Count(3))),
            (2, sent(2, false), Some(Count(0))),
        ];
        for (total, sent, expected) in table {
            let metric = metric(MetricKind::Counter, Some(total));
            let due =
                |is_final| sent.due(&metric, GaugeMode::Shared, is_final).map(|(value, _)| value);
            assert_eq!(due(false), expected, "{total} after {sent:?}");
            assert_eq!(due(true), expected.filter(|value| *value != Count(0)));
        }
    }
}
