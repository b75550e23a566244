#pragma once
// /proc/sysvipc, and the limits of IPC below /proc/sys.
#include "guestkernel/fs/proc/nodes.hpp"

namespace kvmsbx::fs {

extern const StaticEntry kSysvipcDirectory;

Result<> put_shmmax(TextSink& sink);
Result<> put_shm_rmid_forced(TextSink& sink);
Result<> put_shmall(TextSink& sink);
Result<> put_shmmni(TextSink& sink);
Result<> put_sem(TextSink& sink);
Result<> put_msgmax(TextSink& sink);
Result<> put_msgmnb(TextSink& sink);
Result<> put_msgmni(TextSink& sink);
Result<> put_aio_maximum(TextSink& sink);
Result<> put_aio_requests(TextSink& sink);
Result<> store_aio_maximum(std::string_view text);
Result<> put_directory_notification(TextSink& sink);
Result<> store_directory_notification(std::string_view text);
Result<> put_inotify_events(TextSink& sink);
Result<> put_inotify_instances(TextSink& sink);
Result<> put_inotify_watches(TextSink& sink);
Result<> store_inotify_events(std::string_view text);
Result<> store_inotify_instances(std::string_view text);
Result<> store_inotify_watches(std::string_view text);
Result<> put_mq_default_messages(TextSink& sink);
Result<> store_mq_default_messages(std::string_view text);
Result<> put_mq_messages(TextSink& sink);
Result<> store_mq_messages(std::string_view text);
Result<> put_mq_default_size(TextSink& sink);
Result<> store_mq_default_size(std::string_view text);
Result<> put_mq_size(TextSink& sink);
Result<> store_mq_size(std::string_view text);
Result<> put_mq_queues(TextSink& sink);
Result<> store_mq_queues(std::string_view text);
Result<> store_shmmax(std::string_view text);
Result<> store_shm_rmid_forced(std::string_view text);
Result<> store_shmall(std::string_view text);
Result<> store_shmmni(std::string_view text);
Result<> store_sem(std::string_view text);
Result<> store_msgmax(std::string_view text);
Result<> store_msgmnb(std::string_view text);
Result<> store_msgmni(std::string_view text);

// The decimal numbers of a line, as many as `out` has. EINVAL: others, or not between 0 and `maximum`.
Result<> parse_numbers(std::string_view text, std::span<uint64_t> out, uint64_t maximum);

}  // namespace kvmsbx::fs
