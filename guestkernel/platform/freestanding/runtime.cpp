// What a freestanding C++ program needs from a runtime library.
#include <cstddef>
#include <cstdint>
#include <new>

#include "guestkernel/lib/assert.hpp"

namespace kvmsbx::mm {
void* heap_allocate(size_t size);
void heap_free(void* object);
}  // namespace kvmsbx::mm

const std::nothrow_t std::nothrow{};

void* operator new(size_t size, const std::nothrow_t&) noexcept { return kvmsbx::mm::heap_allocate(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return kvmsbx::mm::heap_allocate(size); }
void* operator new(size_t) { kvmsbx::panic("operator new that cannot fail was called"); }
void operator delete(void* object) noexcept { kvmsbx::mm::heap_free(object); }
void operator delete(void* object, size_t) noexcept { kvmsbx::mm::heap_free(object); }
void operator delete[](void* object) noexcept { kvmsbx::mm::heap_free(object); }
void operator delete[](void* object, size_t) noexcept { kvmsbx::mm::heap_free(object); }
void operator delete(void* object, const std::nothrow_t&) noexcept { kvmsbx::mm::heap_free(object); }

extern "C" {

// SAFETY: string instructions on the caller's ranges.
void* memcpy(void* to, const void* from, size_t size) {
    void* start = to;
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
    return start;
}

void* memmove(void* to, const void* from, size_t size) {
    char* d = static_cast<char*>(to);
    const char* s = static_cast<const char*>(from);
    if (d <= s || d >= s + size) return memcpy(to, from, size);
    while (size--) d[size] = s[size];
    return to;
}

void* memset(void* to, int value, size_t size) {
    void* start = to;
    asm volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
    return start;
}

int memcmp(const void* a, const void* b, size_t size) {
    const unsigned char *x = static_cast<const unsigned char*>(a), *y = static_cast<const unsigned char*>(b);
    for (; size; --size, ++x, ++y)
        if (*x != *y) return *x < *y ? -1 : 1;
    return 0;
}

size_t strlen(const char* text) {
    size_t length = 0;
    while (text[length]) ++length;
    return length;
}

void* memchr(const void* from, int value, size_t size) {
    const unsigned char* at = static_cast<const unsigned char*>(from);
    for (; size; --size, ++at)
        if (*at == static_cast<unsigned char>(value)) return const_cast<unsigned char*>(at);
    return nullptr;
}

int strcmp(const char* a, const char* b) {
    while (*a && *a == *b) ++a, ++b;
    return static_cast<unsigned char>(*a) - static_cast<unsigned char>(*b);
}

int strncmp(const char* a, const char* b, size_t size) {
    for (; size; --size, ++a, ++b)
        if (*a != *b || !*a) return static_cast<unsigned char>(*a) - static_cast<unsigned char>(*b);
    return 0;
}

void __cxa_pure_virtual() { kvmsbx::panic("a pure virtual function was called"); }
int __cxa_atexit(void (*)(void*), void*, void*) { return 0; }  // the Sentry never exits
int atexit(void (*)()) { return 0; }
[[noreturn]] void __assert_fail(const char* condition, const char*, unsigned, const char*) {
    kvmsbx::panic(condition);
}  // Boost's own assertions
void* __dso_handle;
[[noreturn]] void abort() { kvmsbx::panic("abort"); }

}  // extern "C"

namespace std {
[[noreturn]] void __throw_length_error(const char* what) { kvmsbx::panic(what); }
[[noreturn]] void __throw_out_of_range_fmt(const char* what, ...) { kvmsbx::panic(what); }
[[noreturn]] void __throw_logic_error(const char* what) { kvmsbx::panic(what); }
[[noreturn]] void __throw_bad_optional_access() { kvmsbx::panic("bad optional access"); }
}  // namespace std
