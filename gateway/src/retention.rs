//! How long observations are kept, by domain (B1-7). One definition for the three who must agree: the pipeline takes nothing in
//! that would be gone, queries show nothing that has expired, compaction takes expired rows away, a little later.

mod clock;

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use codecs::property_catalogue::Domain;

pub use clock::RetentionClock;

use crate::registry::SharedRegistry;

const DAY_US: i64 = 86_400_000_000;
/// Rows go so much later than they stop being shown: a reading that was taken in just before it would have expired is still
/// compared with the row that it repeats.
pub const REMOVAL_MARGIN_US: i64 = 3_600_000_000;

/// Keeping times in µs by [`Domain::ALL`]; `i64::MAX` = for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionSpans {
    by_domain: [i64; Domain::ALL.len()],
    shortest_us: i64,
}

impl Default for RetentionSpans {
    /// Everything for ever.
    fn default() -> Self {
        Self { by_domain: [i64::MAX; Domain::ALL.len()], shortest_us: i64::MAX }
    }
}

impl RetentionSpans {
    /// 0 days = for ever.
    pub fn of_days(days: impl Fn(Domain) -> u32) -> Self {
        let by_domain = Domain::ALL.map(|domain| match days(domain) {
            0 => i64::MAX,
            days => i64::from(days) * DAY_US,
        });
        Self { by_domain, shortest_us: by_domain.into_iter().fold(i64::MAX, i64::min) }
    }

    pub fn is_for_ever(&self) -> bool {
        self.shortest_us == i64::MAX
    }

    /// A time within so long before now is kept, whatever its domain.
    pub fn shortest_us(&self) -> i64 {
        self.shortest_us
    }

    pub fn of(&self, domain: &str) -> i64 {
        self.by_domain[usize::from(index_of(domain))]
    }
}

/// `environment 30 days, everything else for ever`.
impl fmt::Display for RetentionSpans {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limited = Domain::ALL.iter().zip(self.by_domain).filter(|(_, span)| *span != i64::MAX);
        let mut told = 0;
        for (domain, span) in limited {
            write!(formatter, "{} {} days, ", domain.as_str(), span / DAY_US)?;
            told += 1;
        }
        match told {
            0 => formatter.write_str("everything for ever"),
            told if told == Domain::ALL.len() => formatter.write_str("nothing for ever"),
            _ => formatter.write_str("everything else for ever"),
        }
    }
}

/// A domain that no build knows is kept like `other`.
fn index_of(domain: &str) -> u8 {
    let known = Domain::ALL.iter().position(|known| known.as_str() == domain);
    let other = Domain::ALL.iter().position(|known| *known == Domain::Other);
    known.or(other).unwrap_or(0) as u8
}

/// Retention as the store applies it: spans, the time now, and the domain of every datastream.
#[derive(Debug)]
pub struct Retention {
    spans: RetentionSpans,
    /// As [`RetentionClock`] has it; nothing expires before it was told.
    now_us: AtomicI64,
    registry: SharedRegistry,
    /// By datastream, index into [`Domain::ALL`].
    domains: RwLock<Arc<Vec<u8>>>,
}

impl Retention {
    pub fn new(spans: RetentionSpans, registry: SharedRegistry) -> Self {
        Self { spans, now_us: AtomicI64::new(i64::MIN), registry, domains: RwLock::default() }
    }

    pub fn spans(&self) -> RetentionSpans {
        self.spans
    }

    /// Never goes back.
    pub fn tell_time(&self, now_us: i64) {
        self.now_us.fetch_max(now_us, Ordering::AcqRel);
    }

    pub fn now_us(&self) -> i64 {
        self.now_us.load(Ordering::Acquire)
    }

    /// What has expired by now, `margin_us` later than its time is over; `None`: nothing ever does.
    pub fn horizon(&self, margin_us: i64) -> Option<Horizon> {
        if self.spans.is_for_ever() {
            return None;
        }
        let now_us = self.now_us().saturating_sub(margin_us);
        let oldest_us = self.spans.by_domain.map(|span| match span {
            i64::MAX => i64::MIN,
            span => now_us.saturating_sub(span),
        });
        Some(Horizon { oldest_us, domains: self.domains() })
    }

    fn domains(&self) -> Arc<Vec<u8>> {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        let known = self.domains.read().unwrap_or_else(PoisonError::into_inner).clone();
        let datastreams = registry.datastreams();
        if known.len() == datastreams.len() {
            return known;
        }
        let mut domains = known.as_ref().clone();
        let new = datastreams[domains.len()..].iter();
        domains.extend(new.map(|datastream| index_of(&datastream.domain)));
        let domains = Arc::new(domains);
        *self.domains.write().unwrap_or_else(PoisonError::into_inner) = domains.clone();
        domains
    }
}

/// What has expired at one moment.
#[derive(Clone, Debug)]
pub struct Horizon {
    oldest_us: [i64; Domain::ALL.len()],
    domains: Arc<Vec<u8>>,
}

impl Horizon {
    pub fn is_expired(&self, datastream: u32, time_us: i64) -> bool {
        self.expired_for_us(datastream, time_us) > 0
    }

    /// For how long a row has been expired; 0 or less: it is not. A datastream that came later has nothing that is old.
    pub fn expired_for_us(&self, datastream: u32, time_us: i64) -> i64 {
        let domain = self.domains.get(datastream as usize);
        domain.map_or(0, |domain| self.oldest_us[usize::from(*domain)].saturating_sub(time_us))
    }

    /// Of a time before this something may have expired.
    pub fn newest_us(&self) -> i64 {
        self.oldest_us.into_iter().max().unwrap_or(i64::MIN)
    }

    /// Of a time before this everything has expired.
    pub fn all_before_us(&self) -> i64 {
        self.oldest_us.into_iter().min().unwrap_or(i64::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Definition;
    use crate::registry::Registry;

    #[test]
    fn b1_7_each_domain_expires_at_its_own_time() {
        let mut registry = Registry::default();
        for (id, domain) in [(0, "traffic"), (1, "environment"), (2, "traffic"), (3, "no longer known")] {
            let (property, domain) = (format!("p{id}"), domain.to_owned());
            registry.apply(&Definition::Datastream {
                id,
                station: 0,
                property,
                period_s: 0,
                domain,
                unit: 0,
            });
        }
        let spans = RetentionSpans::of_days(|domain| match domain {
            Domain::Traffic => 10,
            Domain::Other => 1,
            _ => 0,
        });
        assert_eq!(spans.to_string(), "other 1 days, traffic 10 days, everything else for ever");
        assert_eq!(RetentionSpans::default().to_string(), "everything for ever");
        assert_eq!((spans.of("traffic"), spans.shortest_us()), (10 * DAY_US, DAY_US));
        let retention = Retention::new(spans, Arc::new(RwLock::new(registry)));
        let horizon = retention.horizon(0).unwrap();
        assert!(!horizon.is_expired(0, i64::MIN + 1), "nothing expires before the time is known");
        retention.tell_time(100 * DAY_US);
        retention.tell_time(50 * DAY_US);
        let horizon = retention.horizon(0).unwrap();
        let expired = |datastream, day| horizon.is_expired(datastream, day * DAY_US);
        assert_eq!((expired(0, 89), expired(0, 90), expired(1, -9_000)), (true, false, false));
        assert_eq!((expired(3, 98), expired(3, 99), expired(9, 0)), (true, false, false));
        assert_eq!((horizon.newest_us(), horizon.all_before_us()), (99 * DAY_US, i64::MIN));
        assert!(
            !retention.horizon(REMOVAL_MARGIN_US).unwrap().is_expired(0, 90 * DAY_US - 1),
            "not yet removed"
        );
        assert!(Retention::new(RetentionSpans::default(), SharedRegistry::default()).horizon(0).is_none());
    }
}
