//! Results of async calls. An `async fn` of napi loses an error's code; this makes a real `Error` with code and causes
//! on the JavaScript thread.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::ptr;
use std::time::Duration;

use futures::FutureExt;
use kafka2delta::{Error, ErrorCode};
use napi::bindgen_prelude::*;
use napi::sys;
use tokio_util::sync::CancellationToken;

use crate::error::cancelled;

/// A result that rejects with a real `Error`: `code`, `message`, and the chain of causes as `cause`.
pub struct Outcome<T>(pub kafka2delta::Result<T>);

/// Starts a call and gives its promise.
pub fn call<'env, T: ToNapiValue + Send + 'static>(
    env: &'env Env,
    call: impl Future<Output = kafka2delta::Result<T>> + Send + 'static,
) -> Result<PromiseRaw<'env, Outcome<T>>> {
    env.spawn_future(async move { Ok(Outcome(guarded(call).await)) })
}

/// Starts a call that ends when its signal is aborted, wherever it is then.
pub fn stoppable<'env, T: ToNapiValue + Send + 'static>(
    env: &'env Env,
    signal: Option<AbortSignal>,
    work: impl Future<Output = kafka2delta::Result<T>> + Send + 'static,
) -> Result<PromiseRaw<'env, Outcome<T>>> {
    let cancel = token(signal);
    call(env, async move {
        tokio::select! {
            result = work => result,
            () = cancel.cancelled() => Err(cancelled()),
        }
    })
}

/// How long a call may go on after its signal was aborted: for a commit that is under way.
const GRACE: Duration = Duration::from_secs(10);

/// Work that looks at the signal between its steps, and is dropped where it waits for the store long after that. None then.
pub async fn unless_abandoned<T>(cancel: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    let abandoned = async {
        cancel.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = work => Some(result),
        () = abandoned => None,
    }
}

/// What is cancelled when the signal is aborted.
pub fn token(signal: Option<AbortSignal>) -> CancellationToken {
    let token = CancellationToken::new();
    if let Some(signal) = signal {
        let cancel = token.clone();
        signal.on_abort(move || cancel.cancel());
    }
    token
}

/// Runs a call; a panic becomes an error.
async fn guarded<T>(call: impl Future<Output = kafka2delta::Result<T>>) -> kafka2delta::Result<T> {
    match AssertUnwindSafe(call).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(Error::new(ErrorCode::Internal, format!("the engine panicked: {text}")))
        }
    }
}

impl<T: ToNapiValue> ToNapiValue for Outcome<T> {
    unsafe fn to_napi_value(env: sys::napi_env, value: Self) -> Result<sys::napi_value> {
        match value.0 {
            // SAFETY: env is the one that napi gave.
            Ok(value) => unsafe { T::to_napi_value(env, value) },
            Err(error) => {
                let messages = error.chain();
                let mut cause: sys::napi_value = ptr::null_mut();
                for (depth, message) in messages.iter().enumerate().rev() {
                    let code = (depth == 0).then(|| error.code.as_str());
                    // SAFETY: as above; cause is null or an error made here.
                    cause = unsafe { js_error(env, code, message, cause)? };
                }
                // SAFETY: as above.
                let raw = unsafe { Unknown::from_napi_value(env, cause)? };
                Err(napi::Error::from(raw))
            }
        }
    }
}

/// # Safety
/// `env` is live and of this thread; `cause` is null or a value of it.
unsafe fn js_error(
    env: sys::napi_env,
    code: Option<&str>,
    message: &str,
    cause: sys::napi_value,
) -> Result<sys::napi_value> {
    // SAFETY: by the caller.
    unsafe {
        let message = String::to_napi_value(env, message.to_owned())?;
        let code = match code {
            Some(code) => String::to_napi_value(env, code.to_owned())?,
            None => ptr::null_mut(),
        };
        let mut error = ptr::null_mut();
        check(sys::napi_create_error(env, code, message, &mut error))?;
        if !cause.is_null() {
            check(sys::napi_set_named_property(env, error, c"cause".as_ptr(), cause))?;
        }
        Ok(error)
    }
}

fn check(status: sys::napi_status) -> Result<()> {
    match status {
        sys::Status::napi_ok => Ok(()),
        other => Err(napi::Error::new(Status::from(other), "an error could not be made".to_owned())),
    }
}
