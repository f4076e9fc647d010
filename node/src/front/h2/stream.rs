//! One stream: a request in, a response out.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONTENT_LENGTH, CONTENT_TYPE, DATE},
};
use http_body_util::{BodyExt, Empty};
use tokio::{sync::mpsc, time::Instant};

use super::{
    body::{News, StreamBody},
    request,
};
use crate::{
    edge::door::{BodyError, ClientBody, ClientHead, ClientRequest, ClientResponse, Handler, Interim},
    front::{
        client::{Client, Shared},
        h1::date_now,
        pace::Pace,
        refusal::Refusal,
        respond::{Cut, body_bytes, remove_connection_fields},
        timer::Timer,
    },
};

/// Interim responses that may wait; more are dropped.
const INTERIM_QUEUE: usize = 8;
/// How much of the window is asked for at a time.
const ASK_BYTES_MAX: usize = 64 << 10;

/// How a stream ended, as far as the client's conduct is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    /// The client reset it.
    Cancelled,
}

/// Serves one stream.
pub(super) async fn serve<H: Handler>(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    client: Arc<Client>,
    handler: H,
) -> End {
    let (parts, stream) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    let has_body = !stream.is_end_stream();
    let head = match request::read(parts, has_body, &client) {
        Ok(head) => head,
        Err(refusal) => {
            refuse(&mut respond, refusal, &client.shared, is_head);
            return End::Answered;
        }
    };
    let answered = answer(head, has_body.then_some(stream), &mut respond, &client, handler).await;
    let response = match answered {
        Ok(response) => response,
        Err(Some(refusal)) => {
            refuse(&mut respond, refusal, &client.shared, is_head);
            return End::Answered;
        }
        Err(None) => {
            client.shared.counters.client_aborts.increment();
            return End::Cancelled;
        }
    };
    let counters = &client.shared.counters;
    match send(response, &mut respond, &client.shared, is_head).await {
        Ok(()) => return End::Answered,
        Err(Cut::ClientGone) => {
            counters.client_aborts.increment();
            return End::Cancelled;
        }
        Err(Cut::WriteIdle) => counters.timeout_write.increment(),
        Err(Cut::WriteRate) => counters.timeout_write_rate.increment(),
        Err(Cut::Source) => counters.response_resets.increment(),
    }
    End::Answered
}

/// Has the handler answer. `Err(None)` when the client did not wait for it.
async fn answer<H: Handler>(
    head: request::Head,
    stream: Option<RecvStream>,
    respond: &mut SendResponse<Bytes>,
    client: &Client,
    handler: H,
) -> Result<ClientResponse, Option<Refusal>> {
    let news = Arc::new(News::default());
    let body = match stream {
        Some(stream) => {
            StreamBody::new(stream, head.body_bytes, news.clone(), client.shared.clone()).boxed_unsync()
        }
        None => Empty::new().map_err(|never| match never {}).boxed_unsync(),
    };
    let (interim_sender, mut interim) = mpsc::channel(INTERIM_QUEUE);
    client.shared.counters.requests_http2.increment();
    let mut owes_continue = head.expects_continue;
    let head = ClientHead {
        method: head.method,
        scheme: client.scheme,
        authority: head.authority,
        path_and_query: head.path_and_query,
        version: Version::HTTP_2,
        headers: head.headers,
        body_bytes: head.body_bytes,
        peer: client.peer,
        interim: interim_sender,
    };
    let request = ClientRequest { head, body };
    let mut handling = pin!(handler.handle(request));
    let response = loop {
        tokio::select! {
            biased;
            response = &mut handling => break response,
            Some(next) = interim.recv() => inform(respond, next),
            () = news.changed.notified() => {
                if let Some(refusal) = news.fault() {
                    return Err(Some(refusal));
                }
                if news.is_asked_for() && std::mem::take(&mut owes_continue) {
                    inform(respond, Interim { status: StatusCode::CONTINUE, headers: HeaderMap::new() });
                }
            }
            _ = poll_fn(|cx| respond.poll_reset(cx)) => return Err(None),
        }
    };
    while let Ok(next) = interim.try_recv() {
        inform(respond, next);
    }
    match news.fault() {
        Some(refusal) => Err(Some(refusal)),
        None => Ok(response),
    }
}

/// Sends an interim response (RFC 9113 section 8.1). `101` does not exist in HTTP/2 (section 8.6).
fn inform(respond: &mut SendResponse<Bytes>, Interim { status, mut headers }: Interim) {
    if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    remove_connection_fields(&mut headers);
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    // Failing means that the stream is over, which is found out next.
    let _ = respond.send_informational(response);
}

fn refuse(respond: &mut SendResponse<Bytes>, refusal: Refusal, shared: &Shared, is_head: bool) {
    shared.counters.refuse(refusal);
    let text = format!("{refusal}\n");
    let mut response = Response::new(());
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, text.len().into());
    headers.insert(DATE, date_now());
    // Failing means that the client has reset the stream, and is not waiting for a reason.
    if let Ok(mut stream) = respond.send_response(response, is_head)
        && !is_head
    {
        let _ = stream.send_data(text.into(), true);
    }
}

async fn send(
    mut response: ClientResponse,
    respond: &mut SendResponse<Bytes>,
    shared: &Shared,
    is_head: bool,
) -> Result<(), Cut> {
    let bytes = body_bytes(&response);
    let status = response.status;
    let has_no_body = is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let mut headers = std::mem::take(&mut response.headers);
    remove_connection_fields(&mut headers);
    headers.entry(DATE).or_insert_with(date_now);
    match bytes {
        _ if status == StatusCode::NO_CONTENT => drop(headers.remove(CONTENT_LENGTH)),
        Some(bytes) if !has_no_body => drop(headers.insert(CONTENT_LENGTH, bytes.into())),
        _ => {}
    }
    let mut head = Response::new(());
    *head.status_mut() = status;
    *head.headers_mut() = headers;
    let is_empty = has_no_body || bytes == Some(0);
    let stream = respond.send_response(head, is_empty).map_err(|_| Cut::ClientGone)?;
    if !is_empty {
        let mut sender = Sender { stream, shared, timer: Timer::default(), pace: Pace::default() };
        if let Err(cut) = sender.body(bytes, &mut response.body).await {
            match cut {
                Cut::ClientGone => {}
                Cut::WriteIdle | Cut::WriteRate => sender.stream.send_reset(Reason::CANCEL),
                Cut::Source => sender.stream.send_reset(Reason::INTERNAL_ERROR),
            }
            return Err(cut);
        }
    }
    response.body.finish();
    Ok(())
}

/// Sends the body of one response, as fast as the client takes it.
struct Sender<'a> {
    stream: SendStream<Bytes>,
    shared: &'a Shared,
    timer: Timer,
    pace: Pace,
}

impl Sender<'_> {
    async fn body(&mut self, bytes: Option<u64>, body: &mut ClientBody) -> Result<(), Cut> {
        let mut left = bytes;
        while let Some(piece) = self.next(body).await? {
            let piece = piece.map_err(|_| Cut::Source)?;
            let length = piece.len();
            if let Some(left) = &mut left {
                *left = left.checked_sub(length as u64).ok_or(Cut::Source)?;
            }
            self.piece(piece, left == Some(0)).await?;
            body.sent(length);
            if left == Some(0) {
                return Ok(());
            }
        }
        match left {
            None => self.stream.send_data(Bytes::new(), true).map_err(|_| Cut::ClientGone),
            Some(_) => Err(Cut::Source),
        }
    }

    /// The next piece of the body, unless the client resets the stream meanwhile.
    async fn next(&mut self, body: &mut ClientBody) -> Result<Option<Result<Bytes, BodyError>>, Cut> {
        let mut next = pin!(body.next());
        poll_fn(|cx| match next.as_mut().poll(cx) {
            Poll::Ready(piece) => Poll::Ready(Ok(piece)),
            Poll::Pending => self.stream.poll_reset(cx).map(|_| Err(Cut::ClientGone)),
        })
        .await
    }

    async fn piece(&mut self, mut piece: Bytes, is_last: bool) -> Result<(), Cut> {
        while !piece.is_empty() {
            self.stream.reserve_capacity(piece.len().min(ASK_BYTES_MAX));
            let capacity = match self.stream.capacity() {
                0 => self.capacity().await?,
                capacity => capacity,
            };
            let part = piece.split_to(capacity.min(piece.len()));
            self.pace.took(part.len());
            self.stream.send_data(part, is_last && piece.is_empty()).map_err(|_| Cut::ClientGone)?;
        }
        Ok(())
    }

    /// Waits until the client takes more.
    async fn capacity(&mut self) -> Result<usize, Cut> {
        self.timer.set(self.shared.limits.write_idle_timeout);
        let since = Instant::now();
        let capacity = poll_fn(|cx| match self.stream.poll_capacity(cx) {
            Poll::Ready(Some(Ok(bytes))) => Poll::Ready(Ok(bytes)),
            Poll::Ready(Some(Err(_)) | None) => Poll::Ready(Err(Cut::ClientGone)),
            Poll::Pending => self.timer.poll_expired(cx).map(|()| Err(Cut::WriteIdle)),
        })
        .await?;
        self.timer.clear();
        self.pace.waited(since.elapsed());
        if self.pace.is_too_slow(&self.shared.limits) {
            return Err(Cut::WriteRate);
        }
        Ok(capacity)
    }
}
