//! `GET /api/v1/series`: one datastream, down-sampled while its rows stream by. Memory is bounded by `points`.
//!
//! - Buckets: min, mean, max, last and count of equal spans of time, which begin at midnight in Việt Nam (UTC+7) or
//!   divide the day from there, so that the same moment falls into the same bucket whatever the period asked for.
//! - LTTB ("largest triangle three buckets", S. Steinarsson 2013) for lines: real observations, chosen so that the line
//!   keeps its shape. It chooses among the least and the greatest value of [`CANDIDATES_PER_POINT`] spans per point.

use serde_json::{Value, json};

use super::ApiError;
use crate::cancel::Cancel;
use crate::parameters::{self, BadParameter, Given};
use crate::query::{GatewayView, QueryError};

const MS: i64 = 1_000;
const DAY_US: i64 = 86_400_000 * MS;
/// Việt Nam has no summer time.
const ZONE_US: i64 = 7 * 3_600_000 * MS;
/// The period before now, or before `to`, where `from` is not given.
const PERIOD_DEFAULT_US: i64 = DAY_US;
/// Spans per point of a line; two candidates each.
const CANDIDATES_PER_POINT: usize = 4;

/// Widths of buckets, ms; all divide the day.
const WIDTHS_MS: [i64; 27] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000,
    300_000, 600_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 10_800_000, 21_600_000, 43_200_000,
    86_400_000,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Buckets,
    Lttb,
}

/// What is asked, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeriesQuery {
    /// `agency/station/property`.
    pub(super) datastream: String,
    /// `None` = instantaneous values, or else the shortest period there is.
    pub(super) period_s: Option<u32>,
    /// `from_us <= time < to_us`, µs since 1970 UTC.
    pub(super) from_us: i64,
    pub(super) to_us: i64,
    pub(super) points: usize,
    pub(super) method: Method,
}

impl SeriesQuery {
    /// Without `to`, the newest observations that there may be are included: a device's clock may be ahead.
    pub(super) fn of(given: &Given<'_>, now_us: i64, clock_skew_max_us: i64) -> Result<Self, BadParameter> {
        let [agency, station, property] =
            given.datastream(&parameters::SERIES_DATASTREAM)?.unwrap_or_default();
        let (from_us, to_us) = given.period(&parameters::FROM, &parameters::TO)?;
        let newest_us = now_us.saturating_add(clock_skew_max_us);
        let end_us = to_us.unwrap_or(now_us);
        let to_us = to_us
            .unwrap_or_else(|| newest_us.max(from_us.map_or(i64::MIN, |from_us| from_us.saturating_add(1))));
        let from_us = from_us.unwrap_or_else(|| end_us.saturating_sub(PERIOD_DEFAULT_US));
        if from_us >= to_us {
            return Err(BadParameter::new(
                parameters::FROM.name,
                "the period is empty: it must lie before `to`",
            ));
        }
        Ok(Self {
            datastream: format!("{agency}/{station}/{property}"),
            period_s: given.whole(&parameters::PERIOD_S)?.map(|period_s| period_s as u32),
            from_us,
            to_us,
            points: given.whole(&parameters::POINTS)?.unwrap_or(2) as usize,
            method: if given.choice(&parameters::METHOD)? == "lttb" { Method::Lttb } else { Method::Buckets },
        })
    }

    /// The registry's number of the datastream, and its period.
    fn resolve(&self, view: &dyn GatewayView) -> Result<(u32, u32), ApiError> {
        let registry = view.things().registry().read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let ids = registry.datastream_ids(&self.datastream).iter();
        let period_s = |id: u32| registry.datastream(id).period_s;
        let id = ids
            .copied()
            .filter(|id| self.period_s.is_none_or(|wanted| wanted == period_s(*id)))
            .min_by_key(|id| period_s(*id));
        let Some(id) = id else {
            let (field, sentence) = match self.period_s {
                Some(period_s) if !registry.datastream_ids(&self.datastream).is_empty() => (
                    parameters::PERIOD_S.name,
                    format!("{} has no values over {period_s} s", self.datastream),
                ),
                _ => (
                    parameters::SERIES_DATASTREAM.name,
                    format!("there is no datastream {}", self.datastream),
                ),
            };
            return Err(ApiError::Missing(BadParameter::new(field, sentence)));
        };
        Ok((id, period_s(id)))
    }
}

/// The answer as JSON.
pub(super) fn series(
    query: &SeriesQuery,
    view: &dyn GatewayView,
    cancel: &Cancel,
) -> Result<Value, ApiError> {
    let (id, period_s) = query.resolve(view)?;
    let mut answer = json!({
        "datastream": query.datastream,
        "period_s": (period_s != 0).then_some(period_s),
        "from": codecs::time::format_rfc3339(query.from_us),
        "to": codecs::time::format_rfc3339(query.to_us),
    });
    let each = |fold: &mut dyn FnMut(i64, f64)| -> Result<Option<String>, QueryError> {
        view.numbers(id, query.from_us..query.to_us, cancel, fold)
    };
    match query.method {
        Method::Buckets => {
            let mut buckets = Buckets::new(query.from_us, query.to_us, query.points);
            answer["unit"] = json!(each(&mut |time_us, value| buckets.add(time_us, value))?);
            buckets.write(&mut answer);
        }
        Method::Lttb => {
            let mut candidates = Candidates::new(query.from_us, query.to_us, query.points);
            answer["unit"] = json!(each(&mut |time_us, value| candidates.add(time_us, value))?);
            let line = lttb(&candidates.points(), query.points);
            answer["method"] = json!("lttb");
            answer["time_ms"] = line.iter().map(|(time_us, _)| time_us.div_euclid(MS)).collect();
            answer["value"] = line.iter().map(|(_, value)| *value).collect();
        }
    }
    Ok(answer)
}

/// Start of the bucket of a time.
fn aligned(time_us: i64, width_us: i64) -> i64 {
    time_us.saturating_add(ZONE_US).div_euclid(width_us).saturating_mul(width_us).saturating_sub(ZONE_US)
}

fn bucket_count(from_us: i64, to_us: i64, width_us: i64) -> i64 {
    (aligned(to_us - 1, width_us) - aligned(from_us, width_us)) / width_us + 1
}

/// The least width with which `points` buckets are enough: one that divides the day, or 1, 2, 5, 10, 20 … days.
fn bucket_width_us(from_us: i64, to_us: i64, points: usize) -> i64 {
    let fits = |width_us: &i64| bucket_count(from_us, to_us, *width_us) <= points as i64;
    let days = (0..)
        .flat_map(|power| [1, 2, 5].map(|digit: i64| digit.saturating_mul(10_i64.saturating_pow(power))));
    WIDTHS_MS
        .iter()
        .map(|width_ms| width_ms * MS)
        .chain(days.map(|days| days.saturating_mul(DAY_US)))
        .find(fits)
        // Some width is as long as all time, and two buckets are always allowed.
        .unwrap_or(i64::MAX)
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    min: f64,
    mean: f64,
    max: f64,
    last: f64,
    count: u64,
}

/// Takes values in the order of their times.
#[derive(Debug)]
struct Buckets {
    start_us: i64,
    width_us: i64,
    buckets: Vec<Bucket>,
}

impl Buckets {
    fn new(from_us: i64, to_us: i64, points: usize) -> Self {
        let width_us = bucket_width_us(from_us, to_us, points);
        let count = bucket_count(from_us, to_us, width_us);
        Self {
            start_us: aligned(from_us, width_us),
            width_us,
            buckets: vec![Bucket::default(); (count as usize).min(points)],
        }
    }

    fn add(&mut self, time_us: i64, value: f64) {
        let at = (time_us - self.start_us) / self.width_us;
        let Some(bucket) = self.buckets.get_mut(at as usize) else { return };
        if bucket.count == 0 {
            *bucket = Bucket { min: value, mean: value, max: value, last: value, count: 1 };
            return;
        }
        bucket.count += 1;
        bucket.min = bucket.min.min(value);
        bucket.max = bucket.max.max(value);
        bucket.last = value;
        // No sum, which could overflow.
        bucket.mean += value / bucket.count as f64 - bucket.mean / bucket.count as f64;
    }

    fn write(&self, answer: &mut Value) {
        let filled: Vec<(i64, &Bucket)> =
            (0..).zip(&self.buckets).filter(|(_, bucket)| bucket.count > 0).collect();
        let column =
            |of: fn(&Bucket) -> f64| -> Value { filled.iter().map(|(_, bucket)| of(bucket)).collect() };
        answer["method"] = json!("buckets");
        answer["bucket_ms"] = json!(self.width_us / MS);
        answer["time_ms"] =
            filled.iter().map(|(at, _)| (self.start_us + at * self.width_us).div_euclid(MS)).collect();
        answer["min"] = column(|bucket| bucket.min);
        answer["mean"] = column(|bucket| bucket.mean);
        answer["max"] = column(|bucket| bucket.max);
        answer["last"] = column(|bucket| bucket.last);
        answer["count"] = filled.iter().map(|(_, bucket)| bucket.count).collect();
    }
}

type Point = (i64, f64);

/// The first and the last observation, and the least and the greatest of each span between.
#[derive(Debug)]
struct Candidates {
    from_us: i64,
    width_us: i64,
    spans: Vec<Option<(Point, Point)>>,
    ends: Option<(Point, Point)>,
}

impl Candidates {
    fn new(from_us: i64, to_us: i64, points: usize) -> Self {
        let spans = points * CANDIDATES_PER_POINT;
        let width_us = (to_us - from_us) / spans as i64 + 1;
        Self { from_us, width_us, spans: vec![None; spans], ends: None }
    }

    fn add(&mut self, time_us: i64, value: f64) {
        let point = (time_us, value);
        self.ends = Some((self.ends.map_or(point, |(first, _)| first), point));
        let at = (time_us - self.from_us) / self.width_us;
        let Some(span) = self.spans.get_mut(at as usize) else { return };
        *span = Some(match *span {
            None => (point, point),
            Some((low, high)) => {
                (if value < low.1 { point } else { low }, if value > high.1 { point } else { high })
            }
        });
    }

    /// In the order of their times.
    fn points(&self) -> Vec<Point> {
        let Some((first, last)) = self.ends else { return Vec::new() };
        let mut points = vec![first];
        for (low, high) in self.spans.iter().flatten() {
            points.extend([*low, *high]);
        }
        points.push(last);
        points.sort_by_key(|(time_us, _)| *time_us);
        points.dedup_by(|a, b| a.0 == b.0 && a.1.to_bits() == b.1.to_bits());
        points
    }
}

/// At most `wanted` (at least 2) of the points, ends included: from each of equally large groups the point that spans the
/// largest triangle with the one chosen before and the mean of the next group.
fn lttb(points: &[Point], wanted: usize) -> Vec<Point> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    if points.len() <= wanted {
        return points.to_vec();
    }
    let groups = wanted.saturating_sub(2);
    let inner = points.len() - 2;
    // Group 0 begins behind the first point; the group behind the last one is the last point.
    let start = |group: usize| if group < groups { 1 + group * inner / groups } else { points.len() - 1 };
    let x = |time_us: i64| (time_us - first.0) as f64;
    let mut chosen = vec![*first];
    let mut before = *first;
    for group in 0..groups {
        let next = &points[start(group + 1)..start(group + 2).max(start(group + 1) + 1).min(points.len())];
        let count = next.len() as f64;
        let mean_x = next.iter().map(|point| x(point.0) / count).sum::<f64>();
        let mean_y = next.iter().map(|point| point.1 / count).sum::<f64>();
        let area = |point: &Point| {
            ((x(before.0) - mean_x) * (point.1 - before.1) - (x(before.0) - x(point.0)) * (mean_y - before.1))
                .abs()
        };
        let largest =
            points[start(group)..start(group + 1)].iter().max_by(|a, b| area(a).total_cmp(&area(b))).copied();
        if let Some(largest) = largest {
            before = largest;
            chosen.push(largest);
        }
    }
    chosen.push(*last);
    chosen
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
