// AF_NETLINK: NETLINK_ROUTE's dumps and single answers, as getifaddrs(3) and ip(8) use them.
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>

#include "tests/guest/netlink/messages.hpp"

using namespace guest;

namespace {

int route_socket(int flags = 0) { return OK(socket(AF_NETLINK, SOCK_RAW | flags, NETLINK_ROUTE)); }

}  // namespace

TEST("types_and_protocols") {
    OK(socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE));
    CHECK_ERRNO(socket(AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE), ESOCKTNOSUPPORT);
    CHECK_ERRNO(socket(AF_NETLINK, SOCK_RAW, 40), EPROTONOSUPPORT);
    CHECK_ERRNO(socket(AF_NETLINK, SOCK_RAW, -1), EPROTONOSUPPORT);
    CHECK_ERRNO(socket(AF_NETLINK, SOCK_RAW, 3), EPROTONOSUPPORT);
}

TEST("bind_gives_the_pid_first") {
    const int first = route_socket(), second = route_socket();
    sockaddr_nl name{};
    name.nl_family = AF_NETLINK;
    OK(bind(first, reinterpret_cast<sockaddr*>(&name), sizeof name));
    OK(bind(second, reinterpret_cast<sockaddr*>(&name), sizeof name));
    socklen_t size = sizeof name;
    OK(getsockname(first, reinterpret_cast<sockaddr*>(&name), &size));
    CHECK_EQ(size, sizeof name);
    CHECK_EQ(name.nl_family, AF_NETLINK);
    CHECK_EQ(name.nl_pid, getpid());
    OK(getsockname(second, reinterpret_cast<sockaddr*>(&name), &size));
    CHECK_NE(name.nl_pid, getpid());
    CHECK_NE(name.nl_pid, 0);
}

TEST("bind_checks_the_name") {
    const int fd = route_socket(), other = route_socket();
    sockaddr_nl name{};
    name.nl_family = AF_INET;
    CHECK_ERRNO(bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name), EINVAL);
    name.nl_family = AF_NETLINK;
    CHECK_ERRNO(bind(fd, reinterpret_cast<sockaddr*>(&name), 8), EINVAL);
    name.nl_pid = 4711;
    OK(bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name));
    CHECK_ERRNO(bind(other, reinterpret_cast<sockaddr*>(&name), sizeof name), EADDRINUSE);
    name.nl_pid = 4712;
    CHECK_ERRNO(bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name), EINVAL);
}

TEST("groups_can_be_joined") {
    const int fd = route_socket();
    sockaddr_nl name{};
    name.nl_family = AF_NETLINK;
    name.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR;
    OK(bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name));
    socklen_t size = sizeof name;
    OK(getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size));
    CHECK_EQ(name.nl_groups, RTMGRP_LINK | RTMGRP_IPV4_IFADDR);
    int group = RTNLGRP_IPV6_IFADDR;
    OK(setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group));
    group = 1000;
    CHECK_ERRNO(setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group), EINVAL);
    pollfd one = {fd, POLLIN | POLLOUT, 0};
    OK(poll(&one, 1, 0));
    CHECK_EQ(one.revents, POLLOUT);
}

TEST("link_dump_has_lo") {
    const int fd = route_socket();
    Request<ifinfomsg>(RTM_GETLINK, NLM_F_DUMP).send_on(fd);
    int count = 0;
    const auto visit = [&](nlmsghdr& one) {
        CHECK_EQ(one.nlmsg_type, RTM_NEWLINK);
        auto* info = static_cast<ifinfomsg*>(NLMSG_DATA(&one));
        if (info->ifi_index != 1) return;
        ++count;
        CHECK_EQ(info->ifi_type, 772);
        CHECK_EQ(info->ifi_flags & (IFF_UP | IFF_LOOPBACK | IFF_RUNNING), IFF_UP | IFF_LOOPBACK | IFF_RUNNING);
        CHECK_STREQ(static_cast<const char*>(attribute(one, sizeof *info, IFLA_IFNAME)), "lo");
        CHECK_EQ(number(one, sizeof *info, IFLA_MTU), 65536);
    };
    CHECK_EQ(each_answer(fd, visit), NLMSG_DONE);
    CHECK_EQ(count, 1);
}

TEST("answers_come_from_the_kernel") {
    const int fd = route_socket();
    Request<ifinfomsg>(RTM_GETLINK, NLM_F_DUMP).send_on(fd);
    sockaddr_nl from;
    memset(&from, 0x55, sizeof from);
    socklen_t size = sizeof from;
    CHECK_GT(recvfrom(fd, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &size), 0);
    CHECK_EQ(size, sizeof from);
    CHECK_EQ(from.nl_pid, 0);
    CHECK_EQ(reinterpret_cast<nlmsghdr*>(buffer)->nlmsg_pid, getpid());
}

TEST("small_buffers_truncate") {
    const int fd = route_socket();
    Request<ifinfomsg>(RTM_GETLINK, NLM_F_DUMP).send_on(fd);
    CHECK_GT(recv(fd, buffer, 20, MSG_PEEK | MSG_TRUNC), 200);
    iovec where = {buffer, 20};
    msghdr header{};
    header.msg_iov = &where;
    header.msg_iovlen = 1;
    CHECK_EQ(recvmsg(fd, &header, 0), 20);
    CHECK_EQ(header.msg_flags & MSG_TRUNC, MSG_TRUNC);
}

TEST("one_link_by_index_and_by_name") {
    const int fd = route_socket();
    Request<ifinfomsg> by_index(RTM_GETLINK, 0), by_name(RTM_GETLINK, 0), none(RTM_GETLINK, 0), neither(RTM_GETLINK, 0);
    by_index.body.ifi_index = 1;
    by_index.send_on(fd);
    CHECK_EQ(each_answer(fd, [](nlmsghdr&) {}), RTM_NEWLINK);
    by_name.add(IFLA_IFNAME, "lo", 3);
    by_name.send_on(fd);
    CHECK_EQ(each_answer(fd, [](nlmsghdr&) {}), RTM_NEWLINK);
    none.body.ifi_index = 99;
    none.send_on(fd);
    CHECK_EQ(error_of(fd), ENODEV);
    neither.send_on(fd);
    CHECK_EQ(error_of(fd), EINVAL);
}

TEST("address_dump_by_family") {
    const int fd = route_socket();
    for (const int family : {AF_UNSPEC, AF_INET, AF_INET6}) {
        Request<ifaddrmsg> request(RTM_GETADDR, NLM_F_DUMP);
        request.body.ifa_family = static_cast<uint8_t>(family);
        request.send_on(fd);
        int four = 0, six = 0;
        const auto visit = [&](nlmsghdr& one) {
            CHECK_EQ(one.nlmsg_type, RTM_NEWADDR);
            auto* info = static_cast<ifaddrmsg*>(NLMSG_DATA(&one));
            CHECK_EQ(info->ifa_index, 1);
            CHECK_EQ(info->ifa_scope, RT_SCOPE_HOST);
            CHECK_EQ(info->ifa_prefixlen, info->ifa_family == AF_INET ? 8 : 128);
            if (info->ifa_family == AF_INET) CHECK_EQ(ntohl(number(one, sizeof *info, IFA_ADDRESS)), 0x7f000001u);
            ++(info->ifa_family == AF_INET ? four : six);
        };
        CHECK_EQ(each_answer(fd, visit), NLMSG_DONE);
        CHECK_EQ(four, family != AF_INET6);
        CHECK_EQ(six, family != AF_INET);
    }
}

TEST("route_dump_is_the_local_table") {
    const int fd = route_socket();
    Request<rtmsg> request(RTM_GETROUTE, NLM_F_DUMP);
    request.body.rtm_family = AF_INET;
    request.send_on(fd);
    int networks = 0, count = 0;
    const auto visit = [&](nlmsghdr& one) {
        auto* info = static_cast<rtmsg*>(NLMSG_DATA(&one));
        CHECK_EQ(info->rtm_table, RT_TABLE_LOCAL);
        networks += info->rtm_dst_len == 8 && info->rtm_type == RTN_LOCAL;
        ++count;
    };
    CHECK_EQ(each_answer(fd, visit), NLMSG_DONE);
    CHECK_EQ(networks, 1);
    CHECK_EQ(count, 3);
}

TEST("route_to_a_destination") {
    const int fd = route_socket();
    const uint32_t ours = htonl(0x7f000005), other = htonl(0xc0000201);
    Request<rtmsg> local(RTM_GETROUTE, 0), away(RTM_GETROUTE, 0);
    local.body.rtm_family = away.body.rtm_family = AF_INET;
    local.body.rtm_dst_len = away.body.rtm_dst_len = 32;
    local.add(RTA_DST, &ours, 4);
    away.add(RTA_DST, &other, 4);
    local.send_on(fd);
    const auto visit = [](nlmsghdr& one) {
        auto* info = static_cast<rtmsg*>(NLMSG_DATA(&one));
        CHECK_EQ(info->rtm_type, RTN_LOCAL);
        CHECK_EQ(number(one, sizeof *info, RTA_OIF), 1);
        CHECK_EQ(ntohl(number(one, sizeof *info, RTA_PREFSRC)), 0x7f000001u);
    };
    CHECK_EQ(each_answer(fd, visit), RTM_NEWROUTE);
    away.send_on(fd);
    CHECK_EQ(error_of(fd), ENETUNREACH);
}

TEST("lengths_count_the_padding_of_attributes") {
    const int fd = route_socket();
    for (const int type : {RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETRULE}) {
        Request<rtmsg>(type, NLM_F_DUMP).send_on(fd);
        CHECK_EQ(each_answer(fd, [](nlmsghdr& one) { CHECK_EQ(one.nlmsg_len % NLMSG_ALIGNTO, 0); }), NLMSG_DONE);
    }
}

TEST("rule_and_neighbour_dumps") {
    const int fd = route_socket();
    Request<rtmsg> rules(RTM_GETRULE, NLM_F_DUMP);
    rules.body.rtm_family = AF_INET;
    rules.send_on(fd);
    int count = 0;
    CHECK_EQ(each_answer(fd, [&](nlmsghdr& one) { count += one.nlmsg_type == RTM_NEWRULE; }), NLMSG_DONE);
    CHECK_EQ(count, 3);
    Request<ndmsg>(RTM_GETNEIGH, NLM_F_DUMP).send_on(fd);
    CHECK_EQ(each_answer(fd, [&](nlmsghdr&) {}), NLMSG_DONE);
}

TEST("setting_is_eperm") {
    const int fd = route_socket();
    Request<ifinfomsg> link(RTM_NEWLINK, NLM_F_ACK);
    link.body.ifi_index = 1;
    link.send_on(fd);
    CHECK_EQ(error_of(fd), EPERM);
    Request<ifaddrmsg>(RTM_NEWADDR, 0).send_on(fd);
    CHECK_EQ(error_of(fd), EPERM);
    Request<rtmsg>(RTM_DELROUTE, 0).send_on(fd);
    CHECK_EQ(error_of(fd), EPERM);
}

TEST("error_carries_the_request") {
    const int fd = route_socket();
    Request<ifaddrmsg> request(RTM_NEWADDR, 0);
    request.send_on(fd);
    CHECK_EQ(recv(fd, buffer, sizeof buffer, 0), 20 + static_cast<int>(request.header.nlmsg_len));
    auto* error = static_cast<nlmsgerr*>(NLMSG_DATA(reinterpret_cast<nlmsghdr*>(buffer)));
    CHECK_EQ(error->msg.nlmsg_type, RTM_NEWADDR);
    CHECK_EQ(error->msg.nlmsg_seq, 77);
    const int on = 1;
    OK(setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on));
    request.send_on(fd);
    CHECK_EQ(recv(fd, buffer, sizeof buffer, 0), 36);
}

TEST("unknown_types_and_acknowledgements") {
    const int fd = route_socket();
    Request<ifinfomsg>(200, 0).send_on(fd);
    CHECK_EQ(error_of(fd), EOPNOTSUPP);
    Request<ifinfomsg>(NLMSG_NOOP, NLM_F_ACK).send_on(fd);
    CHECK_EQ(error_of(fd), 0);
}

TEST("hostile_lengths_are_ignored") {
    const int fd = route_socket(SOCK_NONBLOCK);
    Request<ifinfomsg> request(RTM_GETLINK, NLM_F_DUMP);
    for (const unsigned length : {0u, 5u, 15u, 33u, 0x10000u, 0xffffffffu}) {
        request.header.nlmsg_len = length;
        CHECK_EQ(send(fd, &request, 32, 0), 32);
    }
    CHECK_EQ(send(fd, "abc", 3, 0), 3);
    CHECK_ERRNO(recv(fd, buffer, sizeof buffer, 0), EAGAIN);
}

TEST("several_requests_in_one_message") {
    const int fd = route_socket();
    struct {
        nlmsghdr header;
        ifinfomsg body;
    } both[2] = {};
    for (int i = 0; i < 2; ++i) {
        both[i].header = {sizeof both[i], RTM_GETLINK, NLM_F_REQUEST, 77, 0};
        both[i].body.ifi_index = i == 0 ? 1 : 50;
    }
    CHECK_EQ(send(fd, both, sizeof both, 0), sizeof both);
    CHECK_EQ(each_answer(fd, [](nlmsghdr&) {}), RTM_NEWLINK);
    CHECK_EQ(error_of(fd), ENODEV);
}

TEST("other_ports_cannot_be_written_to") {
    const int fd = route_socket();
    sockaddr_nl name{};
    name.nl_family = AF_NETLINK;
    name.nl_pid = 12345;
    CHECK_ERRNO(sendto(fd, buffer, 16, 0, reinterpret_cast<sockaddr*>(&name), sizeof name), EPERM);
    CHECK_ERRNO(connect(fd, reinterpret_cast<sockaddr*>(&name), sizeof name), EPERM);
}

TEST("unread_answers_overrun_the_queue") {
    const int fd = route_socket(SOCK_NONBLOCK);
    const int size = 1;
    OK(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size));
    bool overrun = false;
    Request<ifinfomsg> request(RTM_GETLINK, 0);
    request.body.ifi_index = 1;
    for (int i = 0; i < 64; ++i) send(fd, &request.header, request.header.nlmsg_len, 0);
    for (int i = 0; i < 64; ++i)
        if (recv(fd, buffer, sizeof buffer, 0) < 0) overrun |= errno == ENOBUFS;
    CHECK(overrun);
}

TEST("uevents_can_be_waited_for") {
    const int fd = OK(socket(AF_NETLINK, SOCK_DGRAM | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
    sockaddr_nl name{};
    name.nl_family = AF_NETLINK;
    name.nl_groups = 1;
    OK(bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name));
    CHECK_ERRNO(recv(fd, buffer, sizeof buffer, 0), EAGAIN);
}

TEST("getifaddrs_finds_both_addresses") {
    ifaddrs* list = nullptr;
    OK(getifaddrs(&list));
    int four = 0, six = 0, link = 0;
    for (const ifaddrs* one = list; one; one = one->ifa_next) {
        CHECK_STREQ(one->ifa_name, "lo");
        if (!one->ifa_addr) continue;
        four += one->ifa_addr->sa_family == AF_INET;
        six += one->ifa_addr->sa_family == AF_INET6;
        link += one->ifa_addr->sa_family == AF_PACKET;
    }
    CHECK_EQ(four, 1);
    CHECK_EQ(six, 1);
    CHECK_EQ(link, 1);
}

TEST("if_nameindex_lists_lo") {
    struct if_nameindex* list = if_nameindex();
    CHECK(list != nullptr);
    CHECK_EQ(list[0].if_index, 1);
    CHECK_STREQ(list[0].if_name, "lo");
    CHECK_EQ(list[1].if_index, 0);
}
