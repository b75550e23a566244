#pragma once
// Machine code that C++ has no words for.
#include "tests/fuzz/calls/calls.hpp"

namespace calls {

// clone(flags, stack, ...): the child calls body(argument) on that stack, which must not return.
long clone_on_stack(uint64_t flags, uint64_t stack, void (*body)(World*), World* argument);

// rt_sigreturn with that stack pointer. Does not come back, but for luck.
void sigreturn_at(uint64_t stack);

// Instructions that trap, that are not ring 3's, or that leave segments, flags and the stack pointer where no
// compiler would.
void hostile_instructions(World& world);

// Writes at the end of the lower half, where a kernel may keep pages that it shares with its applications, while
// other threads make calls.
void scribble_above_user_memory(World& world);

}  // namespace calls
