//! What operations are made of.

use actix_web::http::StatusCode;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Content, Header, Ref, RefOr, Required, Response, ResponseBuilder, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::web::body::ProblemBody;
use crate::web::problem::Kind;

pub(super) fn operation(id: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new().operation_id(Some(id)).summary(Some(summary))
}

/// A reference to the schema of `T` among the components.
fn named<T: ToSchema>() -> Ref {
    Ref::from_schema_name(T::name())
}

pub(super) fn body<T: ToSchema>(required: Required) -> RequestBody {
    let content = Content::new(Some(named::<T>()));
    RequestBodyBuilder::new().content("application/json", content).required(Some(required)).build()
}

pub(super) fn in_path<T: PartialSchema>(name: &str, description: &str) -> Parameter {
    in_path_as(name, description, T::schema())
}

pub(super) fn in_path_as(name: &str, description: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path).required(Required::True);
    parameter.description(Some(description)).schema(Some(schema)).build()
}

pub(super) fn in_header(name: &str, description: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header).required(Required::False);
    parameter.description(Some(description)).schema(Some(schema)).build()
}

pub(super) fn in_query<T: IntoParams>() -> Vec<Parameter> {
    T::into_params(|| Some(ParameterIn::Query))
}

pub(super) fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::new(Type::String))
}

pub(super) fn header(description: &str) -> Header {
    HeaderBuilder::new().schema(Some(text())).description(Some(description)).build()
}

/// An answer with the JSON of a `T`.
pub(super) fn json<T: ToSchema>(description: &str) -> ResponseBuilder {
    let content = Content::new(Some(named::<T>()));
    ResponseBuilder::new().description(description).content("application/json", content)
}

/// Adds the refusals of all these kinds, one answer for each status.
pub(super) fn refused(mut operation: OperationBuilder, kinds: &[&[Kind]]) -> Operation {
    let kinds = kinds.concat();
    let mut statuses: Vec<StatusCode> = kinds.iter().map(|kind| kind.row().2).collect();
    statuses.sort_unstable();
    statuses.dedup();
    for status in statuses {
        let of_status: Vec<Kind> = kinds.iter().copied().filter(|kind| kind.row().2 == status).collect();
        operation = operation.response(status.as_str(), refusal(status, &of_status));
    }
    operation.build()
}

fn refusal(status: StatusCode, kinds: &[Kind]) -> Response {
    let types = text().enum_values(Some(kinds.iter().map(|kind| format!("urn:greenroom:problem:{}", kind.row().0))));
    let code = ObjectBuilder::new().schema_type(SchemaType::new(Type::Integer)).enum_values(Some([status.as_u16()]));
    let schema = AllOfBuilder::new()
        .item(named::<ProblemBody>())
        .item(ObjectBuilder::new().property("type", types).property("status", code));
    let titles: Vec<&str> = kinds.iter().map(|kind| kind.row().1).collect();
    let response = ResponseBuilder::new()
        .description(titles.join(", or: "))
        .content("application/problem+json", Content::new(Some(Schema::AllOf(schema.build()))));
    let response = match status {
        StatusCode::UNAUTHORIZED => response.header("WWW-Authenticate", header("How to be let in.")),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            response.header("Retry-After", header("In how many seconds asking again may help."))
        }
        _ => response,
    };
    response.build()
}
