//! Records that no client library would write, for instance with a header whose key is not UTF-8: a
//! produce request put together byte by byte. One record a request, uncompressed, acknowledged.
//!
//! After the Kafka protocol guide (Produce, version 3) and its record batch format, magic 2.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Ample for one request to a broker on the same machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The longest answer that is believed; a right one has some 60 bytes.
const ANSWER_LIMIT: usize = 1 << 16;

/// A record as bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawRecord<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) timestamp_ms: i64,
    pub(crate) headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

/// Writes a record to a partition of a topic on the broker at this address.
pub(crate) fn produce_raw(bootstrap: &str, topic: &str, partition: i32, record: &RawRecord<'_>) {
    let request = request(topic, partition, &batch(record));
    let answer = exchange(bootstrap, &request).expect("the broker answers");
    // Correlation id, number of topics, name, number of partitions, partition, then the error.
    let at = 4 + 4 + 2 + topic.len() + 4 + 4;
    let code = answer.get(at..at + 2).expect("an answer with an error code");
    assert_eq!(code, [0, 0], "topic {topic}, {partition}: the broker refused the record");
}

fn exchange(bootstrap: &str, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(bootstrap)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(&length(request.len()))?;
    stream.write_all(request)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = usize::try_from(u32::from_be_bytes(size)).expect("32 bits");
    assert!(size <= ANSWER_LIMIT, "an answer of {size} bytes is none to this request");
    let mut answer = vec![0; size];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn request(topic: &str, partition: i32, batch: &[u8]) -> Vec<u8> {
    let (api_key, api_version, correlation_id) = (0_i16, 3_i16, 1_i32);
    let (no_client_id, no_transaction) = (-1_i16, -1_i16);
    let (acks_of_all, timeout_ms) = (-1_i16, 30_000_i32);
    let name_length = i16::try_from(topic.len()).expect("a short name");
    [
        &api_key.to_be_bytes()[..],
        &api_version.to_be_bytes(),
        &correlation_id.to_be_bytes(),
        &no_client_id.to_be_bytes(),
        &no_transaction.to_be_bytes(),
        &acks_of_all.to_be_bytes(),
        &timeout_ms.to_be_bytes(),
        &length(1),
        &name_length.to_be_bytes(),
        topic.as_bytes(),
        &length(1),
        &partition.to_be_bytes(),
        &length(batch.len()),
        batch,
    ]
    .concat()
}

/// A batch of one record.
fn batch(record: &RawRecord<'_>) -> Vec<u8> {
    let (attributes, last_offset_delta) = (0_i16, 0_i32);
    let (no_producer_id, no_producer_epoch, no_sequence) = (-1_i64, -1_i16, -1_i32);
    let checked = [
        &attributes.to_be_bytes()[..],
        &last_offset_delta.to_be_bytes(),
        &record.timestamp_ms.to_be_bytes(),
        &record.timestamp_ms.to_be_bytes(),
        &no_producer_id.to_be_bytes(),
        &no_producer_epoch.to_be_bytes(),
        &no_sequence.to_be_bytes(),
        &length(1),
        &body(record),
    ]
    .concat();
    let (base_offset, leader_epoch, magic) = (0_i64, -1_i32, 2_u8);
    [
        &base_offset.to_be_bytes()[..],
        // Of what follows: leader epoch, magic, checksum, and what is checked.
        &length(4 + 1 + 4 + checked.len()),
        &leader_epoch.to_be_bytes(),
        &[magic],
        &crc32c(&checked).to_be_bytes(),
        &checked,
    ]
    .concat()
}

fn body(record: &RawRecord<'_>) -> Vec<u8> {
    let (attributes, timestamp_delta, offset_delta) = (0_u8, 0_u8, 0_u8);
    let mut body = vec![attributes, timestamp_delta, offset_delta];
    put(&mut body, record.key);
    put(&mut body, record.value);
    put_varint(&mut body, i64::try_from(record.headers.len()).expect("few headers"));
    for (key, value) in record.headers {
        put(&mut body, Some(key));
        put(&mut body, *value);
    }
    let mut record = Vec::new();
    put(&mut record, Some(&body));
    record
}

/// Bytes behind their length; nothing has the length -1.
fn put(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    let length = bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).expect("a short record"));
    put_varint(out, length);
    out.extend_from_slice(bytes.unwrap_or_default());
}

/// A number in zigzag code, seven bits a byte, the lowest first.
fn put_varint(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).expect("a short request").to_be_bytes()
}

/// CRC-32C (Castagnoli), bit by bit: these records are few and short.
fn crc32c(bytes: &[u8]) -> u32 {
    let reflected_polynomial = 0x82f6_3b78;
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (reflected_polynomial & (crc & 1).wrapping_neg());
        }
    }
    !crc
}
