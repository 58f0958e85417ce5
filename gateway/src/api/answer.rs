//! From a question with its parameters to the bytes of its answer.

use serde::Serialize;
use serde_json::json;

use super::quarantine::{messages, quarantine, quarantine_item};
use super::series::{SeriesQuery, series};
use super::{Question, openapi};
use crate::cancel::Cancel;
use crate::parameters::{self, BadParameter, Given, Parameter, cursor};
use crate::query::{self, Format, GatewayView, QueryError, Quiet, Request};
use crate::things::{LatestFilter, Page, ThingFilter};

/// Datastreams that one answer has where no limit is given.
const DATASTREAMS_DEFAULT: u64 = 10_000;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error(transparent)]
    Bad(#[from] BadParameter),
    /// What the parameter names is not there.
    #[error("{0}")]
    Missing(BadParameter),
    #[error(transparent)]
    Query(#[from] QueryError),
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub content_type: &'static str,
    pub body: Vec<u8>,
    /// The query of the next page, where the body has no place for it.
    pub next_query: Option<String>,
}

impl Answer {
    fn of(value: &impl Serialize) -> Result<Self, ApiError> {
        let mut body = serde_json::to_vec(value)
            .map_err(|error| QueryError::Failed(format!("the answer could not be written: {error}")))?;
        body.push(b'\n');
        Ok(Self::json(body))
    }

    fn json(body: Vec<u8>) -> Self {
        Self { content_type: Format::Json.content_type(), body, next_query: None }
    }
}

/// Answers what is answered as a whole; streams and the state of the process are the server's.
pub fn answer(
    question: Question,
    view: &dyn GatewayView,
    parameters: &[(String, String)],
    cancel: &Cancel,
) -> Result<Answer, ApiError> {
    let given = Given::new(parameters, &question.parameters())?;
    match question {
        Question::Agencies => Answer::of(&json!({ "agencies": view.things().agencies() })),
        Question::Communes => Answer::of(&json!({ "communes": view.things().directory().communes() })),
        Question::Stations => {
            let filter = ThingFilter::of(&given)?;
            let page = page(&given, &parameters::STATION_LIMIT)?;
            let stations = view.things().stations(&filter, &page, view.now_us());
            Answer::of(&stations.ok_or_else(BadParameter::foreign_cursor)?)
        }
        Question::Latest => {
            let filter = LatestFilter {
                things: ThingFilter::of(&given)?,
                property: given.text(&parameters::PROPERTY)?,
            };
            let page = page(&given, &parameters::LATEST_LIMIT)?;
            let latest = view.things().latest(&filter, &page).ok_or_else(BadParameter::foreign_cursor)?;
            let next = serde_json::to_string(&latest.next).unwrap_or_default();
            let observations = latest.observations.join(",\n");
            Ok(Answer::json(format!("{{\"observations\":[{observations}],\"next\":{next}}}\n").into_bytes()))
        }
        Question::Series => {
            let query = SeriesQuery::of(&given, view.now_us(), view.clock_skew_max_us())?;
            Answer::of(&series(&query, view, cancel)?)
        }
        Question::Messages => Answer::of(&messages(&given, view, cancel)?),
        Question::Quarantine => Answer::of(&quarantine(&given, view, cancel)?),
        Question::QuarantineItem => Answer::of(&quarantine_item(&given, view)?),
        Question::OpenApi => Answer::of(&openapi()),
        Question::Ledger => by_request(&Request::parse("ledger", parameters)?, view),
        Question::Datastreams => datastreams(parameters, view),
        Question::Health
        | Question::Ready
        | Question::Metrics
        | Question::Events
        | Question::Observations => {
            Err(QueryError::Failed(format!("{} is not answered as a whole", question.path())).into())
        }
    }
}

fn by_request(request: &Request, view: &dyn GatewayView) -> Result<Answer, ApiError> {
    let mut body = Vec::new();
    query::answer(view, request, &mut Quiet(&mut body))?;
    Ok(Answer { content_type: request.format().content_type(), body, next_query: None })
}

/// The list is an array, so the next page stands beside it.
fn datastreams(parameters: &[(String, String)], view: &dyn GatewayView) -> Result<Answer, ApiError> {
    let Request::Datastreams(mut filter, format) = Request::parse("datastreams", parameters)? else {
        return Err(QueryError::Failed("datastreams are asked for otherwise".to_owned()).into());
    };
    let limit = filter.limit.unwrap_or(DATASTREAMS_DEFAULT);
    filter.limit = Some(limit + 1);
    let mut list = view.datastreams(&filter)?;
    let more = list.len() as u64 > limit;
    list.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next_query = list.last().filter(|_| more).map(|last| {
        let after = cursor(&[&last.datastream, &last.period_s.unwrap_or(0).to_string()]);
        let others = parameters.iter().filter(|(name, _)| name != parameters::AFTER.name);
        let pairs = others.map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
        pairs.chain([format!("{}={after}", parameters::AFTER.name)]).collect::<Vec<_>>().join("&")
    });
    let mut body = Vec::new();
    query::write_datastreams(&list, format, &mut body).map_err(QueryError::from)?;
    Ok(Answer { content_type: format.content_type(), body, next_query })
}

/// For a query string: everything but letters and digits as `%` escapes.
fn escaped(text: &str) -> String {
    let escaped = text.bytes().map(|byte| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    escaped.collect()
}

fn page(given: &Given<'_>, limit: &Parameter) -> Result<Page, BadParameter> {
    let limit = given.whole(limit)?.unwrap_or(1);
    Ok(Page { after: given.cursor(&parameters::AFTER)?, limit: usize::try_from(limit).unwrap_or(usize::MAX) })
}
