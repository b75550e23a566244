#pragma once
// Exit codes that kvmsbx's processes share.

namespace kvmsbx::host {

// kvmsbx itself failed, and has said in one line why (docker's "the runtime failed"). Every other code is the
// application's.
inline constexpr int kExitOwnFailure = 125;

}  // namespace kvmsbx::host
