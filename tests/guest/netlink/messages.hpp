#pragma once
// Requests to netlink, and what answers them.
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "tests/guest/guest_test.hpp"

namespace guest {

template <typename Body>
struct Request {
    nlmsghdr header{};
    Body body{};
    char attributes[64] = {};
    Request(int type, int flags) {
        header.nlmsg_len = NLMSG_LENGTH(sizeof(Body));
        header.nlmsg_type = static_cast<uint16_t>(type);
        header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
        header.nlmsg_seq = 77;
    }
    void add(int type, const void* data, size_t size) {
        auto* one = reinterpret_cast<rtattr*>(reinterpret_cast<char*>(&header) + NLMSG_ALIGN(header.nlmsg_len));
        one->rta_type = static_cast<uint16_t>(type);
        one->rta_len = static_cast<uint16_t>(RTA_LENGTH(size));
        memcpy(RTA_DATA(one), data, size);
        header.nlmsg_len = NLMSG_ALIGN(header.nlmsg_len) + RTA_ALIGN(one->rta_len);
    }
    void send_on(int fd) { CHECK_EQ(send(fd, &header, header.nlmsg_len, 0), header.nlmsg_len); }
};

inline char buffer[16384];

// Calls visit(nlmsghdr&) for each message of the answer up to NLMSG_DONE, an error or the only one; the last's type.
template <typename Visit>
int each_answer(int fd, Visit visit) {
    for (;;) {
        auto left = static_cast<unsigned>(OK(recv(fd, buffer, sizeof buffer, 0)));
        for (auto* one = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(one, left); one = NLMSG_NEXT(one, left)) {
            CHECK_EQ(one->nlmsg_seq, 77);
            if (one->nlmsg_type == NLMSG_DONE || one->nlmsg_type == NLMSG_ERROR) return one->nlmsg_type;
            visit(*one);
            if (!(one->nlmsg_flags & NLM_F_MULTI)) return one->nlmsg_type;
        }
    }
}

// The error in the NLMSG_ERROR that answers.
inline int error_of(int fd) {
    const ssize_t size = OK(recv(fd, buffer, sizeof buffer, 0));
    CHECK_GE(size, NLMSG_LENGTH(sizeof(nlmsgerr)));
    auto* one = reinterpret_cast<nlmsghdr*>(buffer);
    CHECK_EQ(one->nlmsg_type, NLMSG_ERROR);
    return -static_cast<nlmsgerr*>(NLMSG_DATA(one))->error;
}

inline const void* attribute(nlmsghdr& message, size_t fixed, int type) {
    auto* one = reinterpret_cast<rtattr*>(static_cast<char*>(NLMSG_DATA(&message)) + NLMSG_ALIGN(fixed));
    auto left = static_cast<unsigned>(NLMSG_PAYLOAD(&message, fixed));
    for (; RTA_OK(one, left); one = RTA_NEXT(one, left))
        if (one->rta_type == type) return RTA_DATA(one);
    return nullptr;
}
inline uint32_t number(nlmsghdr& message, size_t fixed, int type) {
    const void* const data = attribute(message, fixed, type);
    CHECK(data != nullptr);
    uint32_t value;
    memcpy(&value, data, sizeof value);
    return value;
}

}  // namespace guest
