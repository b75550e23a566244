#pragma once
// Boost.Intrusive as the Sentry uses it: lists and red-black trees that never allocate; hooks unlink themselves when
// their object dies.
#include "guestkernel/lib/assert.hpp"
#define BOOST_INTRUSIVE_INVARIANT_ASSERT(condition) DCHECK(condition)
#define BOOST_INTRUSIVE_SAFE_HOOK_DEFAULT_ASSERT(condition) VERIFY(condition)
#define BOOST_INTRUSIVE_SAFE_HOOK_DESTRUCTOR_ASSERT(condition) VERIFY(condition)
#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>

namespace kvmsbx {

using ListHook = boost::intrusive::list_member_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;
using TreeHook = boost::intrusive::set_member_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

template <typename T, ListHook T::*Member>
using List = boost::intrusive::list<T, boost::intrusive::member_hook<T, ListHook, Member>,
                                    boost::intrusive::constant_time_size<false>>;

// Options: boost::intrusive::compare<...> or key_of_value<...>.
template <typename T, TreeHook T::*Member, typename... Options>
using Tree = boost::intrusive::set<T, boost::intrusive::member_hook<T, TreeHook, Member>,
                                   boost::intrusive::constant_time_size<false>, Options...>;

}  // namespace kvmsbx
