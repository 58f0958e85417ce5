//! What rain leaves behind: drains fill within the hour, rivers within the day.
//!
//! A response is the sum over the rain of the past, each step weighted by how much of it is under way by now; a function of
//! time like everything else here. The rain of the past steps is remembered, because it is asked for again and again.

use std::collections::VecDeque;

use super::sky::{Place, Sky};

/// How a catchment answers: after `peak_s` most of a shower is there; the tail falls by e every further `peak_s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Response {
    pub(super) step_s: i64,
    pub(super) peak_s: f64,
    /// Steps of the past that count.
    steps: usize,
}

impl Response {
    /// A drain or a basin behind a pump.
    pub(super) const DRAIN: Self = Self { step_s: 300, peak_s: 1800.0, steps: 60 };
    /// A river.
    pub(super) const RIVER: Self = Self { step_s: 1800, peak_s: 6.0 * 3600.0, steps: 96 };

    /// Share of a step's rain that is at the gauge after so many steps; all shares together are 1, but for the cut tail.
    fn weight(self, steps: usize) -> f64 {
        let age = (steps as f64 + 0.5) * self.step_s as f64 / self.peak_s;
        age * (-age).exp() * self.step_s as f64 / self.peak_s
    }
}

/// The rain that fell on one catchment.
#[derive(Clone, Debug)]
pub(super) struct Catchment {
    response: Response,
    place: Place,
    weights: Vec<f64>,
    /// Rain of the steps up to `newest`, newest first.
    rain: VecDeque<f64>,
    newest: i64,
}

impl Catchment {
    pub(super) fn new(response: Response, place: Place) -> Self {
        let weights = (0..response.steps).map(|step| response.weight(step)).collect();
        Self { response, place, weights, rain: VecDeque::new(), newest: i64::MIN }
    }

    /// Rain in mm/h as it arrives at the gauge.
    pub(super) fn arriving_mm_h(&mut self, sky: Sky, time_s: f64) -> f64 {
        self.remember(sky, (time_s as i64).div_euclid(self.response.step_s));
        self.rain.iter().zip(&self.weights).map(|(rain, weight)| rain * weight).sum()
    }

    /// [`Self::arriving_mm_h`] of each of the past steps, newest first: half as many as are remembered.
    pub(super) fn history(&mut self, sky: Sky, time_s: f64) -> impl Iterator<Item = f64> {
        self.remember(sky, (time_s as i64).div_euclid(self.response.step_s));
        let (rain, weights) = (&self.rain, &self.weights);
        (0..self.response.steps)
            .map(move |back| rain.iter().skip(back).zip(weights).map(|(rain, weight)| rain * weight).sum())
    }

    fn remember(&mut self, sky: Sky, step: i64) {
        // Twice the tail, so that the past can be asked for as well.
        let most = self.response.steps * 2;
        let missing = step.saturating_sub(self.newest);
        if !(0..most as i64).contains(&missing) {
            self.rain.clear();
            self.newest = step - most as i64;
        }
        while self.newest < step {
            self.newest += 1;
            self.rain.push_front(sky.rain_mm_h(self.place, (self.newest * self.response.step_s) as f64));
            self.rain.truncate(most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rain_is_lost_and_it_comes_later() {
        for response in [Response::DRAIN, Response::RIVER] {
            let whole: f64 = (0..response.steps).map(|step| response.weight(step)).sum();
            assert!((0.97..1.03).contains(&whole), "{response:?}: {whole}");
        }
    }

    /// A2-1: whatever was asked before, an hour has one answer; a drain and a river follow the rain, the river later and flatter.
    #[test]
    fn drains_and_rivers_answer_rain() {
        let (sky, place) = (Sky { seed: 3 }, Place::default());
        let start_s = 1_795_000_000.0;
        let series = |response: Response| {
            let mut catchment = Catchment::new(response, place);
            (0..7 * 288)
                .map(|step| catchment.arriving_mm_h(sky, start_s + f64::from(step) * 300.0))
                .collect::<Vec<_>>()
        };
        let rain: Vec<f64> =
            (0..7 * 288).map(|step| sky.rain_mm_h(place, start_s + f64::from(step) * 300.0)).collect();
        let (drain, river) = (series(Response::DRAIN), series(Response::RIVER));
        let peak = |series: &[f64]| {
            series
                .iter()
                .copied()
                .enumerate()
                .fold((0, 0.0), |best, (at, value)| if value > best.1 { (at, value) } else { best })
        };
        let (rain_at, rain_peak) = peak(&rain);
        assert!(rain_peak > 10.0);
        let (drain_at, drain_peak) = peak(&drain[rain_at..(rain_at + 48).min(drain.len())]);
        assert!(
            drain_at > 0 && drain_peak < rain_peak && drain_peak > rain_peak * 0.1,
            "{drain_at} {drain_peak}"
        );
        let (river_at, river_peak) = peak(&river[rain_at..(rain_at + 288).min(river.len())]);
        assert!(river_at > drain_at && river_peak < drain_peak, "{river_at} {river_peak}");
        let mut afresh = Catchment::new(Response::DRAIN, place);
        let at = rain_at + drain_at;
        assert!((afresh.arriving_mm_h(sky, start_s + at as f64 * 300.0) - drain[at]).abs() < 1e-9);
        let history: Vec<f64> = afresh.history(sky, start_s + at as f64 * 300.0).collect();
        assert!((history[3] - drain[at - 3]).abs() < 0.05 * drain_peak, "{} {}", history[3], drain[at - 3]);
    }
}
