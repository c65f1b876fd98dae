//! The one table that maps errors to what a client sees.

use axum::http::StatusCode;
use klusterkite_wire::{Problem, chain};

use crate::Error;

/// Returns the status and the machine code of an error.
pub(super) fn status(error: &Error) -> (StatusCode, &'static str) {
    if error.is_storage_full() {
        return (StatusCode::INSUFFICIENT_STORAGE, "storageFull");
    }
    match error {
        Error::Shared(error) => status(error),
        Error::UpstreamAway { .. } => (StatusCode::SERVICE_UNAVAILABLE, "upstreamAway"),
        Error::UpstreamPackage { .. } => (StatusCode::BAD_GATEWAY, "upstreamPackage"),
        Error::KeyMissing | Error::KeyUnknown => (StatusCode::UNAUTHORIZED, "keyUnknown"),
        Error::TooManyWrongKeys { .. } => (StatusCode::TOO_MANY_REQUESTS, "tooManyWrongKeys"),
        Error::NotReady(_) => (StatusCode::SERVICE_UNAVAILABLE, "notReady"),
        Error::ScopeMissing { .. } => (StatusCode::FORBIDDEN, "scopeMissing"),
        Error::PrefixRequired { .. } => (StatusCode::FORBIDDEN, "prefixRequired"),
        Error::BadRequest(_) => (StatusCode::BAD_REQUEST, "badRequest"),
        Error::UploadBroken { .. } => (StatusCode::BAD_REQUEST, "uploadBroken"),
        Error::PackageInvalid(_) => (StatusCode::BAD_REQUEST, "packageInvalid"),
        Error::ManifestInvalid(_) => (StatusCode::BAD_REQUEST, "manifestInvalid"),
        Error::NotFound { .. } => (StatusCode::NOT_FOUND, "notFound"),
        Error::MethodUnknown { .. } => (StatusCode::METHOD_NOT_ALLOWED, "methodUnknown"),
        Error::VersionExists { .. } => (StatusCode::CONFLICT, "versionExists"),
        Error::VersionPurged { .. } => (StatusCode::CONFLICT, "versionPurged"),
        Error::VersionPinned { .. } => (StatusCode::CONFLICT, "versionPinned"),
        Error::SymbolsAsPackage { .. } => (StatusCode::BAD_REQUEST, "symbolsAsPackage"),
        Error::NotSymbols { .. } => (StatusCode::BAD_REQUEST, "notSymbols"),
        Error::PackageMissing { .. } => (StatusCode::NOT_FOUND, "packageMissing"),
        Error::SymbolsExist { .. } => (StatusCode::CONFLICT, "symbolsExist"),
        Error::SymbolsPurged { .. } => (StatusCode::CONFLICT, "symbolsPurged"),
        Error::PackageTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "packageTooLarge"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

/// Makes the document that a client gets; what went wrong inside the feed stays in its log.
pub(super) fn problem(error: &Error, request_id: &str) -> Problem {
    let (status, code) = status(error);
    let detail = match code {
        "internal" => "the feed failed, its log has the reason; ask again".to_owned(),
        "storageFull" => {
            "the feed's disk is full; nothing was stored, make room and push again".to_owned()
        }
        "notReady" => match error {
            Error::NotReady(cause) if cause.is_storage_full() => {
                "the feed's disk is full; packages can be fetched but not pushed".to_owned()
            }
            _ => "the feed's index cannot be written, its log has the reason".to_owned(),
        },
        _ => chain(error),
    };
    let mut problem = Problem::new(status.as_u16(), code, detail);
    problem.request_id = Some(request_id.to_owned());
    problem
}
