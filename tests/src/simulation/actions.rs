//! What clients and the world do while a gateway lives.

use std::sync::PoisonError;

use super::catalogue::COMMIT_BYTES;
use super::run::Run;

/// More is not in flight: fewer than any `mqtt.receive_max` here.
const IN_FLIGHT_MAX: usize = 6;
const HOUR_US: u64 = 3_600_000_000;

impl Run {
    fn some_client(&mut self) -> usize {
        self.random.below(self.clients.len() as u64) as usize
    }

    pub(super) fn publish(&mut self) {
        let index = self.some_client();
        let Self { clients, model, traffic, random, clock, shared, .. } = self;
        let client = &mut clients[index];
        if !client.online {
            return;
        }
        let mut model = model.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..=random.below(3) {
            if client.in_flight() >= IN_FLIGHT_MAX {
                return;
            }
            let said = traffic.say(&client.name, clock.now_us(), random, &mut model);
            let qos = match random.below(100) {
                _ if said.once => 0,
                0..15 if !said.retain => 0,
                15..40 if client.is_v3() => 2,
                _ => 1,
            };
            // One at a time, so that a re-send of an older one never comes behind a newer one.
            if said.retain && client.has_retained_in_flight() {
                continue;
            }
            client.publish(said.id, qos, said.retain, &mut model, &shared.story);
        }
    }

    /// Some bytes of somebody reach the gateway.
    pub(super) fn arrive(&mut self) {
        let index = self.some_client();
        let most = if self.random.chance(60) { 4_000 } else { 30 };
        let count = 1 + self.random.below(most) as usize;
        if let Some(link) = &self.clients[index].link {
            let arrived = link.arrive(count);
            let name = &self.clients[index].name;
            self.shared.story.tell(|| format!("{arrived} bytes of {name} arrive"));
        }
    }

    pub(super) fn read(&mut self) {
        let index = self.some_client();
        // Subscribers are slow.
        let is_slow = self.clients[index].subscriber.is_some() && self.random.chance(60);
        let count = if is_slow { self.random.below(300) as usize } else { usize::MAX };
        self.read_client(index, count);
    }

    pub(super) fn read_client(&mut self, index: usize, count: usize) {
        let Self { clients, model, feeds, shared, .. } = self;
        let mut model = model.lock().unwrap_or_else(PoisonError::into_inner);
        clients[index].read(count, feeds, &mut model, &shared.story);
    }

    pub(super) fn connect_one(&mut self) {
        let index = self.some_client();
        let client = &self.clients[index];
        if client.link.is_none() {
            let with_will = self.random.chance(15);
            self.connect(index, with_will);
        } else if client.online && client.subscriber.is_some() && self.random.chance(60) {
            let qos = self.random.below(2) as u8;
            self.clients[index].subscribe(&self.feeds, qos, &self.shared.story);
        }
    }

    pub(super) fn connect(&mut self, index: usize, with_will: bool) {
        let Some(gateway) = &mut self.gateway else { return };
        let (link, socket) = self.network.connect();
        if !gateway.accept(socket, &mut self.network) {
            return;
        }
        let Self { clients, model, traffic, shared, .. } = self;
        let mut model = model.lock().unwrap_or_else(PoisonError::into_inner);
        let client = &mut clients[index];
        let will = with_will.then(|| traffic.will(&client.name, &mut model));
        client.connect(link, will, &mut model, &shared.story);
    }

    /// A connection ends: in good order, by a reset, or so that the gateway does not notice.
    pub(super) fn drop_one(&mut self) {
        let index = self.some_client();
        let client = &mut self.clients[index];
        if client.online && self.random.chance(20) {
            client.disconnect(&self.shared.story);
        }
        let Some(link) = client.link.take() else { return };
        let name = &client.name;
        match self.random.below(3) {
            0 => {
                self.shared.story.tell(|| format!("{name}: the connection is reset"));
                link.end(true);
            }
            1 => {
                self.shared.story.tell(|| format!("{name}: the connection ends"));
                link.arrive(self.random.below(4_000) as usize);
                link.end(false);
            }
            _ => self.shared.story.tell(|| format!("{name} is silent and connects anew")),
        }
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        client.lost_connection(&mut model);
    }

    pub(super) fn ping_or_forget(&mut self) {
        let index = self.some_client();
        if self.clients[index].online {
            self.clients[index].ping();
        }
    }

    /// Mostly a little. Leaps only while nobody waits with an undated message: nothing but the time between tells its re-send
    /// from a new one (ADR 7).
    pub(super) fn pass_time(&mut self) {
        let us = match self.random.below(10) {
            0..7 => self.random.below(5_000),
            _ => self.random.below(700_000),
        };
        self.clock.advance(us);
        let model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        let may_leap = self.clients.iter().all(|client| !client.has_undated_in_flight(&model));
        drop(model);
        if may_leap && self.random.chance(15) {
            if self.plan.kept_days.is_none() && self.random.chance(40) {
                self.clock.advance(self.random.below(2 * HOUR_US));
            } else {
                let by_us = self.random.below(400_000_000) as i64 - 200_000_000;
                self.clock.set_wall(by_us);
            }
        }
        self.story().tell(|| format!("it is {}", self.clock.now_us()));
    }

    /// A leap by so much that readings expire, while nothing of them is on its way: what the clock said when they came decides
    /// whether they are taken. False where the gateway did not survive the wait.
    pub(super) fn days_pass(&mut self) -> bool {
        if !self.quiet() {
            return false;
        }
        self.clock.advance(HOUR_US + self.random.below(16 * HOUR_US));
        self.story().tell(|| format!("it is {}", self.clock.now_us()));
        true
    }

    /// Somebody else takes space of the disk, or gives it back.
    pub(super) fn fill_disk(&mut self) {
        use gateway::disk::Disk;
        if !self.options.has_random_faults() || !self.random.chance(self.plan.full_disk_percent) {
            return;
        }
        self.disk.set_capacity(u64::MAX);
        if self.random.chance(70) {
            let Ok(free) = self.disk.free_space() else { return };
            // Often too little for a commit.
            let most = if self.random.chance(40) { COMMIT_BYTES } else { 3 << 20 };
            let left = self.random.below(most);
            self.shared.note_room_missing();
            self.disk.set_capacity(u64::MAX - free + left);
            self.story().tell(|| format!("the disk has {left} bytes left"));
        }
    }
}
