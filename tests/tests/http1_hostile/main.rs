//! Requests that another parser might read differently are refused, the connection is closed, and nobody behind
//! the node hears of them (RFC 9112 sections 2 to 7 and 11).
//!
//! Each file holds the vectors of one noun; [`vector`] plays them over raw sockets. What odd but well-formed
//! requests must still get is told in `http1_accepted`.

mod chunks;
mod fields;
mod framing;
mod lines;
mod request_line;
mod sizes;
mod vector;

use vector::play;

#[tokio::test]
async fn a_request_line_with_odd_method_or_spacing_is_refused() {
    play("method", request_line::method_and_spacing()).await;
}

#[tokio::test]
async fn a_version_that_is_not_ours_is_refused() {
    play("version", request_line::version()).await;
}

#[tokio::test]
async fn a_target_of_no_known_form_is_refused() {
    play("target", request_line::target()).await;
}

#[tokio::test]
async fn lines_end_in_cr_lf_and_in_nothing_else() {
    play("ends", lines::ends()).await;
}

#[tokio::test]
async fn folded_lines_are_refused() {
    play("folds", lines::folds()).await;
}

#[tokio::test]
async fn field_names_are_tokens() {
    play("names", fields::names()).await;
}

#[tokio::test]
async fn field_values_hold_no_control_characters() {
    play("values", fields::values()).await;
}

#[tokio::test]
async fn a_request_has_one_valid_host() {
    play("host", fields::host()).await;
}

#[tokio::test]
async fn a_content_length_is_one_number() {
    play("length", framing::content_length()).await;
}

#[tokio::test]
async fn chunked_is_the_only_transfer_coding_and_stands_alone() {
    play("coding", framing::transfer_encoding()).await;
}

#[tokio::test]
async fn a_transfer_coding_in_disguise_does_not_change_the_framing() {
    play("disguises", framing::disguises()).await;
}

#[tokio::test]
async fn chunk_sizes_are_hexadecimal_digits() {
    play("sizes", chunks::sizes()).await;
}

#[tokio::test]
async fn chunks_end_where_they_say() {
    play("chunk-ends", chunks::ends()).await;
}

#[tokio::test]
async fn chunk_extensions_hide_nothing() {
    play("extensions", chunks::extensions()).await;
}

#[tokio::test]
async fn trailers_are_fields_and_no_more() {
    play("trailers", chunks::trailers()).await;
}

#[tokio::test]
async fn a_head_beyond_the_limits_is_refused() {
    play("oversize", sizes::oversize()).await;
}
