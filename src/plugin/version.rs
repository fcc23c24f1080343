//! What this version of Flux does not do.

use super::StateCounts;
use crate::collectors::CollectorId;
use crate::jobs::Needs;

/// The first version of flux-core that passes R to callbacks (commit 4158ae21d).
const FIRST_WITH_R: (u32, u32) = (0, 56);

/// Whether a broker of this version passes R, which says what a job holds. One
/// whose version cannot be read is taken for a newer one.
fn passes_r(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= FIRST_WITH_R,
        _ => true,
    }
}

impl StateCounts {
    /// Collectors come: where some of what they send cannot be known, that is logged,
    /// and not sent.
    pub(super) fn check_flux_version(&mut self, added: &[CollectorId]) {
        let need_r = |collector: &CollectorId| collector.spec().needs.contains(Needs::RESOURCES);
        if self.table.needs().contains(Needs::RESOURCES) || !added.iter().any(need_r) {
            return;
        }
        let version = self.flux.attribute(c"version");
        if let Some(version) = version.filter(|version| !passes_r(version)) {
            self.publisher.set_knows_allocations(false);
            let (major, minor) = FIRST_WITH_R;
            self.warn(&format!(
                "Flux {version} does not show plugins what jobs hold (Flux {major}.{minor} \
                 and later do): resource.*.allocated, user_cores and bank_cores are not sent"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flux_passes_r_since_0_56() {
        let table = [
            ("0.49.0", false),
            ("0.55.0", false),
            ("0.55.0-17-g0123456", false),
            ("0.56.0", true),
            ("0.88.0", true),
            ("0.100.0", true),
            ("1.0.0", true),
            ("1", true),
            ("", true),
            ("unknown", true),
        ];
        for (version, wanted) in table {
            assert_eq!(passes_r(version), wanted, "{version:?}");
        }
    }
}
