//! The quarantine in both catalogues: kept, narrowed, walked through, settled (B1-3, B1-5).

use super::*;

fn listed(history: &mut dyn History, filter: &QuarantineFilter) -> Vec<QuarantineEntry> {
    let walk = QuarantineWalk {
        filter,
        order: QuarantineOrder::NewestFirst,
        behind: None,
        payloads: false,
        entries_max: filter.limit(),
        looked_at_max: usize::MAX,
        payload_bytes_max: usize::MAX,
    };
    history.quarantine_page(&walk).unwrap().items.into_iter().map(|item| item.entry).collect()
}

/// B1-2, B1-5: entries of a time when the clock was far ahead hide none of those behind them, whichever way the walk goes.
#[test]
fn b1_5_a_period_of_receive_times_is_found_behind_a_clock_that_was_ahead() {
    let (_directory, catalogues) = both();
    for mut catalogue in catalogues {
        let mut items: Vec<QuarantineItem> =
            (1..=8).map(|position| item(position, 0, 1).as_ref().clone()).collect();
        // 3 and 4 came in the far future, the others a second apart; stamps go on from there.
        for item in &mut items[2..4] {
            item.entry.receive_time_us += 1_000_000_000_000;
        }
        for item in &mut items[4..] {
            item.booked.behind_s = 1_000_000;
        }
        for item in &mut items {
            item.booked.receive_time_us = item.entry.receive_time_us;
        }
        let quarantine = QuarantineDelta {
            items: items.into_iter().map(Arc::new).collect(),
            ..QuarantineDelta::default()
        };
        catalogue.commit(&Commit { quarantine, ..Commit::default() }).unwrap();
        let mut history = catalogue.history().unwrap();
        let far = 1_000_000_000_000;
        for (from_us, to_us, expected) in [
            (None, Some(far), vec![1, 2, 5, 6, 7, 8]),
            (Some(far), None, vec![3, 4]),
            (Some(2_000_000), Some(7_000_000), vec![2, 5, 6]),
            (Some(6_000_000), None, vec![3, 4, 6, 7, 8]),
            (None, Some(2_000_000), vec![1]),
        ] {
            let filter = QuarantineFilter { from_us, to_us, ..QuarantineFilter::default() };
            for order in [QuarantineOrder::OldestFirst, QuarantineOrder::NewestFirst] {
                let walk = QuarantineWalk {
                    filter: &filter,
                    order,
                    behind: None,
                    payloads: false,
                    entries_max: 100,
                    looked_at_max: 100,
                    payload_bytes_max: 100,
                };
                let mut found: Vec<u64> = history
                    .quarantine_page(&walk)
                    .unwrap()
                    .items
                    .iter()
                    .map(|item| item.entry.position)
                    .collect();
                if order == QuarantineOrder::NewestFirst {
                    found.reverse();
                }
                assert_eq!(found, expected, "{from_us:?} {to_us:?} {order:?}");
            }
        }
    }
}

#[test]
fn b1_3_quarantine_keeps_every_entry_and_sums_them_per_client() {
    let (_dir, mut catalogues) = both();
    for catalogue in &mut catalogues {
        let items: Vec<_> = (1..=10).map(|position| item(position, 0, 100)).collect();
        for chunk in items.chunks(3) {
            let quarantine = QuarantineDelta { items: chunk.to_vec(), ..QuarantineDelta::default() };
            catalogue.commit(&Commit { quarantine, ..Commit::default() }).unwrap();
        }
        let size = item(1, 0, 100).entry.bytes();
        let mut history = catalogue.history().unwrap();
        let totals = history.quarantine_totals().unwrap();
        let snapshot = catalogue.load().unwrap();
        assert_eq!(snapshot.quarantine, totals);
        assert_eq!(totals.entries, 10);
        let of = |client: &str, entries| (client.to_owned(), entries * size);
        let of_clients = [of("client-0", 5), of("client-1", 5)];
        assert_eq!(totals.bytes, of_clients.iter().map(|(_, bytes)| bytes).sum::<u64>());
        assert_eq!(snapshot.quarantine_of_clients, of_clients);
        let listed = listed(history.as_mut(), &QuarantineFilter::default());
        assert_eq!(listed.len(), 10);
        assert_eq!(history.quarantine_show(7).unwrap(), [items[6].as_ref().clone()]);
        assert_eq!(history.quarantine_show(u64::MAX).unwrap(), []);
    }
}

#[test]
fn quarantine_is_narrowed_by_every_member_of_the_filter() {
    let (_dir, mut catalogues) = both();
    let any = QuarantineFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let cases = [
        (any(), vec![6, 5, 4, 3, 2, 1]),
        (QuarantineFilter { limit: 2, ..any() }, vec![6, 5]),
        (QuarantineFilter { before: Some((4, 0)), limit: 2, ..any() }, vec![3, 2]),
        (QuarantineFilter { before: Some((4, 1)), limit: 1, ..any() }, vec![4]),
        (QuarantineFilter { before: Some((1, 0)), ..any() }, vec![]),
        (QuarantineFilter { reason: text("not_json"), ..any() }, vec![6, 4, 2]),
        (QuarantineFilter { client: text("client-1"), ..any() }, vec![5, 3, 1]),
        (QuarantineFilter { agency: text("H25"), ..any() }, vec![]),
        (QuarantineFilter { topic: text("obs/H24.05/S1"), ..any() }, vec![4, 1]),
        (QuarantineFilter { topic: text("obs/+/S1"), limit: 1, ..any() }, vec![4]),
        (QuarantineFilter { topic: text("obs/#"), ..any() }, vec![6, 5, 4, 3, 2, 1]),
        (QuarantineFilter { position: Some(3), ..any() }, vec![3]),
        (QuarantineFilter { position: Some(3), reason: text("not_json"), ..any() }, vec![]),
        (QuarantineFilter { reason: text("not_json"), client: text("client-1"), ..any() }, vec![]),
        (QuarantineFilter { to_us: Some(1_000_000), ..any() }, vec![]),
        (QuarantineFilter { from_us: Some(2_000_000), to_us: Some(4_000_000), ..any() }, vec![3, 2]),
    ];
    for catalogue in &mut catalogues {
        let items = (1..=6).map(|position| item(position, 0, 0)).collect();
        let quarantine = QuarantineDelta { items, ..QuarantineDelta::default() };
        catalogue.commit(&Commit { quarantine, ..Commit::default() }).unwrap();
        let mut history = catalogue.history().unwrap();
        for (filter, expected) in &cases {
            let listed = listed(history.as_mut(), filter);
            let positions: Vec<u64> = listed.iter().map(|entry| entry.position).collect();
            assert_eq!(&positions, expected, "{filter:?}");
        }
    }
}

/// What a settlement does to an entry, done twice, is done once; a walk goes both ways, in steps (B1-5).
#[test]
fn b1_5_entries_leave_or_stay_with_what_is_left() {
    let (_dir, mut catalogues) = both();
    for catalogue in &mut catalogues {
        let items: Vec<_> = (1..=5).map(|position| item(position, 0, 10)).collect();
        let bytes: u64 = items.iter().map(|item| item.entry.bytes()).sum();
        let quarantine = QuarantineDelta { items: items.clone(), ..QuarantineDelta::default() };
        catalogue.commit(&Commit { quarantine, ..Commit::default() }).unwrap();
        let booked = BookedEntry { readings: 1, outcome: 1, agency: 9, ..items[2].booked };
        let remaining = Remaining {
            outcome: 1,
            readings: 1,
            offset: 7,
            reason: "registry_limit".to_owned(),
            sentence: "ư".to_owned(),
            refused: vec![4],
        };
        let changes = vec![
            QuarantineChange { position: 2, ordinal: 0, remaining: None },
            QuarantineChange {
                position: 3,
                ordinal: 0,
                remaining: Some(RemainingEntry { booked, settled: true, remaining: remaining.clone() }),
            },
            QuarantineChange { position: 99, ordinal: 0, remaining: None },
        ];
        for _ in 0..2 {
            let quarantine = QuarantineDelta { changes: changes.clone(), ..QuarantineDelta::default() };
            catalogue.commit(&Commit { quarantine, ..Commit::default() }).unwrap();
        }
        let mut history = catalogue.history().unwrap();
        assert_eq!(history.quarantine_show(2).unwrap(), []);
        let mut expected = items[2].as_ref().clone();
        RemainingEntry { booked, settled: true, remaining }.change(&mut expected);
        assert_eq!(history.quarantine_show(3).unwrap(), [expected.clone()]);
        let totals = history.quarantine_totals().unwrap();
        let left = bytes - items[1].entry.bytes() - items[2].entry.bytes() + expected.entry.bytes();
        assert_eq!((totals.entries, totals.bytes), (4, left));

        let any = QuarantineFilter::default();
        let filter = QuarantineFilter { from_us: Some(3_000_000), to_us: Some(5_000_000), ..any.clone() };
        for (filter, order, expected) in [
            (&any, QuarantineOrder::OldestFirst, vec![1, 3, 4, 5]),
            (&any, QuarantineOrder::NewestFirst, vec![5, 4, 3, 1]),
            (&filter, QuarantineOrder::OldestFirst, vec![3, 4]),
            (&filter, QuarantineOrder::NewestFirst, vec![4, 3]),
        ] {
            let mut walk = QuarantineWalk {
                filter,
                order,
                behind: None,
                payloads: true,
                entries_max: 3,
                looked_at_max: 2,
                payload_bytes_max: 15,
            };
            let mut positions = Vec::new();
            loop {
                let page = history.quarantine_page(&walk).unwrap();
                assert!(page.items.len() <= 2, "looked at two at most");
                assert!(page.items.iter().all(|item| item.payload.len() == 10));
                positions.extend(page.items.iter().map(|item| item.entry.position));
                let Some(next) = page.next else { break };
                walk.behind = Some(next);
            }
            assert_eq!(positions, expected, "{order:?}");
        }
    }
}
