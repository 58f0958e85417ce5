//! Which MQTT connection carries which station: an edge box serves one region, a station never changes its box, islands have
//! their own.

use std::collections::BTreeMap;

use super::stations::Station;

/// Indexes of stations for each connection; at most `connections` of them, none empty.
pub(super) fn deal(stations: &[Station], connections: usize) -> Vec<Vec<usize>> {
    let mut regions: BTreeMap<(bool, &str), Vec<usize>> = BTreeMap::new();
    for station in stations {
        regions.entry((station.is_island, &station.region)).or_default().push(station.index);
    }
    let mut regions: Vec<Vec<usize>> = regions.into_values().collect();
    if regions.len() > connections {
        return shared(regions, stations, connections);
    }
    // The largest shares are halved for as long as there are connections left.
    while regions.len() < connections {
        let Some(largest) =
            regions.iter_mut().max_by_key(|region| region.len()).filter(|region| region.len() > 1)
        else {
            break;
        };
        let half = largest.split_off(largest.len() / 2);
        regions.push(half);
    }
    regions
}

/// Fewer connections than regions: those of the mainland share; islands do where nothing else is left.
fn shared(regions: Vec<Vec<usize>>, stations: &[Station], connections: usize) -> Vec<Vec<usize>> {
    let is_island = |region: &Vec<usize>| region.first().is_some_and(|index| stations[*index].is_island);
    let (islands, mainland): (Vec<_>, Vec<_>) = regions.into_iter().partition(is_island);
    let own = if connections > islands.len() { islands.len() } else { connections - 1 };
    let rest = connections - own;
    let mut hands: Vec<Vec<usize>> = vec![Vec::new(); connections];
    for (at, region) in islands.into_iter().enumerate() {
        let hand = if own == 0 { 0 } else { rest + at % own };
        hands[hand].extend(region);
    }
    for (at, region) in mainland.into_iter().enumerate() {
        hands[at % rest].extend(region);
    }
    hands.retain(|hand| !hand.is_empty());
    hands
}
