//! Payments of shops: takings per merchant and hour, and visits of customers.
//!
//! A payment's record is keyed by merchant; its value is `customer;cents`.

use segno::prelude::*;

pub const HOUR: Millis = Millis(3_600_000);
pub const PAUSE: Millis = Millis(15 * 60_000);

/// One payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    pub customer: String,
    pub cents: i64,
}

impl Payment {
    /// What the value of a record says, if it is a payment.
    pub fn parse(text: &str) -> Option<Payment> {
        let (customer, cents) = text.split_once(';')?;
        let cents = cents.parse().ok().filter(|cents| (1..=10_000_000).contains(cents))?;
        (!customer.is_empty()).then(|| Payment { customer: customer.to_owned(), cents })
    }

    pub fn of(record: &Record<'_>) -> Result<Payment, DecodeError> {
        let text = record.value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
        Payment::parse(text).ok_or_else(|| DecodeError(format!("{text:?} is no payment")))
    }
}

/// What a merchant took in an hour.
pub fn takings(shape: &Shape) -> Result<Pipeline, PipelineError> {
    Pipeline::named("takings-per-hour")
        .source(shape.source("payments"), Payment::of)
        .key_by_record()
        .tumbling(HOUR, shape.allowed_lateness)
        .aggregate("takings", Sum::of(|payment: &Payment| payment.cents))
        .output(json_rows(|_hour, cents: &i128| json!({ "cents": *cents as i64 })))
}

/// How often a customer paid in one visit to town, whoever the merchants were.
pub fn visits(shape: &Shape) -> Result<Pipeline, PipelineError> {
    let customer = |payment: &Payment, key: &mut Vec<u8>| key.extend_from_slice(payment.customer.as_bytes());
    Pipeline::named("visits")
        .source(shape.source("payments"), Payment::of)
        .key_by("by-customer", shape.repartitions, customer, PaymentCodec)
        .sessions(PAUSE, shape.allowed_lateness)
        .aggregate("visits", Count::of())
        .output(json_rows(|visit, payments: &u64| json!({ "payments": payments, "until": visit.end.0 })))
}

/// A payment on its way to the owner of its customer.
#[derive(Clone, Copy, Debug)]
pub struct PaymentCodec;

impl PayloadCodec<Payment> for PaymentCodec {
    fn encode(&self, payment: &Payment, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{};{}", payment.customer, payment.cents).as_bytes());
    }

    fn decode(&self, bytes: &[u8]) -> Result<Payment, CodecError> {
        let text = std::str::from_utf8(bytes).map_err(|error| CodecError(error.to_string()))?;
        Payment::parse(text).ok_or_else(|| CodecError(format!("{text:?} is no payment")))
    }
}
