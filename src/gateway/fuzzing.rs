//! What the fuzz targets reach of this folder: whose address a request is said to come from.

use std::net::IpAddr;

use http::HeaderMap;

use super::proxies::{ForwardedHeader, Proxies};
use crate::serve::Network;

/// The client's address, by what proxies say that are trusted.
pub fn client(
    trusted: &Network,
    header: ForwardedHeader,
    connection: IpAddr,
    headers: &HeaderMap,
) -> IpAddr {
    Proxies::new(vec![*trusted], header).client(connection, headers)
}
