// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Requests that are completed later.

use espnic_ndis::Status;
use serde_json::json;

use super::{Done, Way, TICK};
use crate::device::{Device, Next, Outcome, Request};
use crate::error::Error;
use crate::record::Record;
use crate::{show, system};

/// Whether a request succeeds whose answer was shown: of a pended one the completion says it, which is
/// left to `follow` in a session, and is shown otherwise.
pub fn succeeds(
    device: &mut Device,
    request: &Request,
    outcome: &Outcome,
    way: Way,
) -> Result<bool, Error> {
    if outcome.status != Status::PENDING {
        return Ok(outcome.status.is_success());
    }
    if way.session {
        return Ok(true);
    }
    while !system::stopped() {
        match device.next_record()? {
            Next::Record(record) => {
                if let Some(status) = status_of(&record, request.id) {
                    show::print(way.json, &record.json())?;
                    return Ok(status.is_success());
                }
            }
            Next::None => device.wait(TICK)?,
            Next::End => break,
        }
    }
    Ok(false)
}

/// The status of a request's completion.
fn status_of(record: &Record, id: u64) -> Option<Status> {
    match record {
        Record::Completed(_, done, _) => (done.request_id == id).then_some(Status(done.status)),
        _ => None,
    }
}

/// `cancel`
pub fn cancel(device: &Device, id: u64, json: bool) -> Result<Done, Error> {
    device.cancel(id)?;
    show::print(json, &json!({"ok": true, "request_id": id}))?;
    Ok(Done::ok(true))
}
