//! The HTTP edge: MCP in, worker calls out.
