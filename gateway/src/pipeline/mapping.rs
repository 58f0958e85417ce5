//! Which topics are observations: `obs/{agency}/{station}` and `obs/{agency}/{station}/{property}`.
//!
//! Everything else under `obs/` is quarantined, every other topic is an ordinary MQTT topic.

use codecs::name;

/// Version of the mapping; written with every message and frame.
pub const MAPPING_VERSION: u32 = 1;

/// What a topic means, with names checked and normalised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicMeaning {
    Observations {
        agency: String,
        station: String,
        /// As sent: the decoder checks and normalises it with the reading.
        property: Option<String>,
    },
    /// An ordinary MQTT topic.
    Ordinary,
    /// Under `obs/`, but not one of its forms: why.
    Invalid { agency: Option<String>, sentence: String },
}

/// Is the topic under `obs/`? The cheap question that decides for most ordinary topics.
pub fn is_observation_topic(topic: &[u8]) -> bool {
    topic.starts_with(b"obs/")
}

pub fn topic_meaning(topic: &str) -> TopicMeaning {
    let Some(rest) = topic.strip_prefix("obs/") else { return TopicMeaning::Ordinary };
    let levels: Vec<&str> = rest.splitn(4, '/').collect();
    let invalid = |agency: Option<String>, sentence: String| TopicMeaning::Invalid { agency, sentence };
    let (agency, station, property) = match levels[..] {
        [agency, station] => (agency, station, None),
        [agency, station, property] => (agency, station, Some(property)),
        _ => {
            let sentence = format!(
                "the topic {topic} has {} levels; obs/{{agency}}/{{station}} or obs/{{agency}}/{{station}}/{{property}} is expected",
                topic.split('/').count()
            );
            return invalid(None, sentence);
        }
    };
    let agency = match name::agency(agency) {
        Ok(agency) => agency.into_owned(),
        Err(error) => return invalid(None, format!("agency in topic {topic}: {error}")),
    };
    let station = match name::station(station) {
        Ok(station) => station.into_owned(),
        Err(error) => return invalid(Some(agency), format!("station in topic {topic}: {error}")),
    };
    if let Some(Err(error)) = property.map(name::property) {
        return invalid(Some(agency), format!("property in topic {topic}: {error}"));
    }
    TopicMeaning::Observations { agency, station, property: property.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_the_contract() {
        assert_eq!(topic_meaning("city/lamp/1"), TopicMeaning::Ordinary);
        assert_eq!(topic_meaning("obs"), TopicMeaning::Ordinary);
        assert_eq!(
            topic_meaning("obs/H24.05/KHI003"),
            TopicMeaning::Observations { agency: "H24.05".into(), station: "KHI003".into(), property: None }
        );
        assert_eq!(
            topic_meaning("obs/H24.05/KHI003/pm2_5"),
            TopicMeaning::Observations {
                agency: "H24.05".into(),
                station: "KHI003".into(),
                property: Some("pm2_5".into())
            }
        );
        for topic in ["obs/", "obs/a", "obs/a/", "obs//b", "obs/a/b/c/d", "obs/a b/c", "obs/a/b/"] {
            assert!(matches!(topic_meaning(topic), TopicMeaning::Invalid { .. }), "{topic}");
        }
    }
}
