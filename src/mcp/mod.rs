//! The client's wire: headers and bytes in, typed values out.
