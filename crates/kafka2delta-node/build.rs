//! Lets the linker find Node.
fn main() {
    napi_build::setup();
}
