#pragma once
// What the Sentry does when the host has no memory left for it.

namespace kvmsbx::mm {

// As far as is known the host has none left: what becomes free in the next second goes back to it at once.
void note_shortage_of_the_host();

}  // namespace kvmsbx::mm
