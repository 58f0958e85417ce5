//! Says when one phase ends and the next begins. No phase is missed for being short: what must have been in between is told.

use firmware_sim::time;

use super::phase::Phase;
use super::screen::Screen;
use super::words::{counted, duration, grouped};

#[derive(Debug)]
pub(super) struct Story {
    /// What was measured since then is sent first.
    from_us: i64,
    stations: u32,
    last: Option<Phase>,
}

impl Story {
    pub(super) fn new(from_us: i64, stations: u32) -> Self {
        Self { from_us, stations, last: None }
    }

    pub(super) fn tell(&mut self, phase: &Phase, screen: &mut Screen<'_>) {
        if !self.last.as_ref().is_some_and(|last| last.is_same_kind(phase)) {
            for sentence in self.sentences(phase) {
                screen.say(&sentence);
            }
        }
        self.last = Some(phase.clone());
    }

    fn sentences(&self, phase: &Phase) -> Vec<String> {
        let mut out = Vec::new();
        if let Some(Phase::CutOff { region, waiting, .. }) = &self.last {
            out.push(format!(
                "STORM OVER: {region} has network again and sends what it kept all at once, oldest first: {}.",
                counted(*waiting, "measurement")
            ));
        }
        let is_storm_sent = !matches!(phase, Phase::Resending { .. } | Phase::CutOff { .. });
        if let Some(Phase::CutOff { region, .. } | Phase::Resending { region, .. }) = &self.last
            && is_storm_sent
        {
            out.push(format!("STORM OVER: {region} has sent everything."));
        }
        match phase {
            Phase::Replay | Phase::Resending { .. } => {}
            Phase::Past { .. } => {
                let past = duration((time::now_us() - self.from_us).unsigned_abs() / 1_000_000);
                out.push(format!(
                    "The stations send what they measured in the last {past}, as fast as it is acknowledged."
                ));
            }
            Phase::CutOff { region, since_s, .. } => out.push(format!(
                "STORM: {region} has had no network for {}. Its stations go on measuring and keep everything; the others send.",
                duration(*since_s)
            )),
            Phase::Live => out.push(format!(
                "All of the past is sent. {} stations of Hải Phòng send live.",
                grouped(self.stations.into())
            )),
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_of_a_storm_is_told_once_however_short() {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out, false);
        let cut_off = |waiting| Phase::CutOff {
            region: "Quận Lê Chân".to_owned(),
            since_s: 7200,
            waiting,
            others_waiting: 0,
            seconds: 3,
        };
        let mut story = Story::new(0, 10);
        // The re-sending fell between two looks.
        for phase in [Phase::Replay, cut_off(1), cut_off(700), Phase::Live, Phase::Live] {
            story.tell(&phase, &mut screen);
        }
        let text = String::from_utf8(out).expect("text").replace('\n', " ");
        for once in [
            "STORM: Quận Lê Chân has had no network for 2 h 0 min",
            ": 700 measurements",
            "has sent everything",
            "10 stations of",
        ] {
            assert_eq!(text.matches(once).count(), 1, "{once}: {text}");
        }
    }
}
