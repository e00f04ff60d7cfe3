//! One process with everything in it: gateway, worker and the embedded directory, over loopback.
