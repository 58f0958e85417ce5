//! Columns of a store file. Outside readers rely on names and types; `docs/format/store.md` explains them.

use std::sync::Arc;

use parquet::basic::{Compression, Encoding};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr, WriterVersion};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, TypePtr};

/// Rows of a row group; the last one of a file may have fewer.
pub(super) const ROW_GROUP_ROWS: usize = 65_536;
/// Rows of a page of every column; the last one of a row group may have fewer.
pub(super) const PAGE_ROWS: usize = 4_096;

/// Version of the files' format and the key under which they carry it. Another one goes with another format of the catalogue,
/// which is looked at before any file is.
pub(super) const FORMAT: u32 = 2;
pub(super) const FORMAT_KEY: &str = "sensor_gateway.store_format";

const SCHEMA: &str = "message observations {
    required binary datastream (STRING);
    required int32 datastream_id;
    required int64 phenomenon_time (TIMESTAMP(MICROS,true));
    required int32 ordinal;
    required int32 revision;
    required int32 rank;
    required int32 period_s;
    required binary kind (STRING);
    optional double number;
    optional binary text (STRING);
    optional boolean boolean;
    optional binary unit (STRING);
    optional binary status (STRING);
    required int32 quality;
    required int32 flags;
    optional int64 seq (INTEGER(64,false));
    required int64 position (INTEGER(64,false));
    required int64 result_time (TIMESTAMP(MICROS,true));
}";

/// Place of each column in the schema.
pub(super) const DATASTREAM: usize = 0;
pub(super) const DATASTREAM_ID: usize = 1;
pub(super) const PHENOMENON_TIME: usize = 2;
pub(super) const ORDINAL: usize = 3;
pub(super) const REVISION: usize = 4;
pub(super) const RANK: usize = 5;
pub(super) const PERIOD_S: usize = 6;
pub(super) const KIND: usize = 7;
pub(super) const NUMBER: usize = 8;
pub(super) const TEXT: usize = 9;
pub(super) const BOOLEAN: usize = 10;
pub(super) const UNIT: usize = 11;
pub(super) const STATUS: usize = 12;
pub(super) const QUALITY: usize = 13;
pub(super) const FLAGS: usize = 14;
pub(super) const SEQ: usize = 15;
pub(super) const POSITION: usize = 16;
pub(super) const RESULT_TIME: usize = 17;

pub(super) fn schema() -> Result<TypePtr, ParquetError> {
    Ok(Arc::new(parse_message_type(SCHEMA)?))
}

/// Page bytes that no page of [`PAGE_ROWS`] texts of at most 256 bytes reaches: only the row count cuts pages.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// Statistics stand on datastream id and time only: the rest would cost time at every flush and prune nothing.
pub(super) fn writer_properties() -> WriterPropertiesPtr {
    let sorting = [DATASTREAM_ID, PHENOMENON_TIME, ORDINAL, REVISION].map(|column| SortingColumn {
        column_idx: column as i32,
        descending: false,
        nulls_first: false,
    });
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("sensor-gateway {}", env!("CARGO_PKG_VERSION")))
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::SNAPPY)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_data_page_size_limit(PAGE_BYTES_MAX)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_key_value_metadata(Some(vec![KeyValue::new(FORMAT_KEY.to_owned(), FORMAT.to_string())]))
        .set_sorting_columns(Some(sorting.to_vec()))
        .set_column_statistics_enabled(ColumnPath::from("phenomenon_time"), EnabledStatistics::Page);
    for column in ["phenomenon_time", "seq", "position", "result_time"] {
        properties = properties.set_column_encoding(ColumnPath::from(column), Encoding::DELTA_BINARY_PACKED);
    }
    Arc::new(properties.build())
}
