#include "guestkernel/fs/tty/line_discipline.hpp"

#include <algorithm>

namespace kvmsbx::fs {
namespace {

constexpr int kSignalInterrupt = 2, kSignalQuit = 3, kSignalSuspend = 20;

bool is_control(uint8_t c) { return c < 0x20 || c == 0x7f; }
// Letters are the kernel's, which are those of Latin-1 (lib/ctype.c): so the first bytes of UTF-8 characters count as
// letters.
bool is_upper(uint8_t c) { return (c >= 'A' && c <= 'Z') || (c >= 0xc0 && c <= 0xde && c != 0xd7); }
bool is_lower(uint8_t c) { return (c >= 'a' && c <= 'z') || (c >= 0xdf && c != 0xf7); }
bool is_word(uint8_t c) { return is_upper(c) || is_lower(c) || (c >= '0' && c <= '9') || c == '_'; }
uint8_t to_lower(uint8_t c) { return is_upper(c) ? c + 0x20 : c; }
uint8_t to_upper(uint8_t c) { return is_lower(c) ? c - 0x20 : c; }

}  // namespace

// --- settings

void LineDiscipline::set_termios(const Termios& termios) {
    const bool mode_changes = (termios_.lflag ^ termios.lflag) & (kICanon | kExtProc);
    const bool flow_ends = termios_.has_input(kIxOn) && !termios.has_input(kIxOn);
    termios_ = termios;
    if (mode_changes) {
        std::fill(std::begin(delimiters_), std::end(delimiters_), 0);
        if (!canonical() || head_ == tail_) {
            canon_head_ = tail_;
            pushed_ = false;
        } else {
            mark(head_ - 1, true);
            canon_head_ = head_;
            pushed_ = true;
        }
        erasing_ = literal_next_ = false;
    }
    if (flow_ends) start_output();
}

void LineDiscipline::set_stopped_by_call(bool stopped) {
    if (stopped_by_call_ == stopped) return;
    stopped_by_call_ = stopped;
    stopped ? stop_output() : start_output();
}

void LineDiscipline::start_output() {
    if (!stopped_ || stopped_by_call_) return;
    stopped_ = false;
    host_.set_output_stopped(false);
}

void LineDiscipline::stop_output() {
    if (stopped_) return;
    stopped_ = true;
    host_.set_output_stopped(true);
}

// --- the queue

void LineDiscipline::mark(uint64_t index, bool delimiter) {
    uint64_t& word = delimiters_[index % kQueueSize / 64];
    const uint64_t bit = 1ULL << index % 64;
    word = delimiter ? word | bit : word & ~bit;
}

void LineDiscipline::put(uint8_t c, bool delimiter) {
    if (head_ - tail_ == kQueueSize) --head_;  // only in an overlong line
    queue_[head_ % kQueueSize] = c;
    mark(head_, delimiter);
    ++head_;
}

size_t LineDiscipline::receive_room() const {
    // PARMRK can make two bytes of one.
    const size_t room = kQueueSize - 1 - (head_ - tail_);
    return termios_.has_input(kParMrk) ? room / 2 : room;
}

size_t LineDiscipline::receive(std::span<const uint8_t> bytes) {
    for (size_t i = 0; i < bytes.size(); ++i) {
        if (receive_room() == 0) {
            // An overlong line: its excess is dropped, but keys still edit and end it.
            const bool overlong = canonical() && canon_head_ == tail_;
            if (!overlong) return i;
            if (head_ - tail_ == kQueueSize) --head_;
        }
        receive_one(bytes[i]);
    }
    return bytes.size();
}

bool LineDiscipline::has_input(size_t minimum) const {
    return canonical() ? canon_head_ != tail_ : head_ - tail_ >= minimum;
}

size_t LineDiscipline::readable_bytes() const {
    if (!canonical()) return head_ - tail_;
    size_t count = 0;
    for (uint64_t i = tail_; i != canon_head_; ++i)
        if (!(marked(i) && at(i) == 0)) ++count;
    return count;
}

void LineDiscipline::flush_input() {
    tail_ = canon_head_ = head_ = 0;
    std::fill(std::begin(delimiters_), std::end(delimiters_), 0);
    erasing_ = literal_next_ = pushed_ = false;
    host_.input_flushed();
}

LineDiscipline::ReadResult LineDiscipline::read(std::span<uint8_t> to) {
    if (canonical()) return read_canonical(to);
    const size_t size = std::min<size_t>(to.size(), head_ - tail_);
    for (size_t i = 0; i < size; ++i) to[i] = at(tail_++);
    canon_head_ = std::max(canon_head_, tail_);
    return {size, false};
}

LineDiscipline::ReadResult LineDiscipline::read_canonical(std::span<uint8_t> to) {
    size_t size = 0;
    while (tail_ != canon_head_) {
        const bool ends = marked(tail_);
        const bool end_of_file = ends && at(tail_) == 0;
        if (size == to.size() && !end_of_file) return {size, false};
        if (!end_of_file) to[size++] = at(tail_);
        mark(tail_, false);
        ++tail_;
        if (ends) {
            // A line made up by the switch to canonical mode (pushed_) has its end there, but nothing was typed to end
            // it.
            pushed_ = false;
            return {size, true};
        }
    }
    return {size, false};
}

// --- input

void LineDiscipline::receive_one(uint8_t c) {
    if (termios_.has_input(kIStrip)) c &= 0x7f;
    if (termios_.has_input(kIucLc) && local(kIExten)) c = to_lower(c);
    if (edited_by_master()) return put(c, false);
    if (literal_next_) {
        literal_next_ = false;
        return receive_plain(c);
    }
    if (termios_.has_input(kIxOn) && receive_flow(c)) return;
    if (local(kISig) && receive_signal(c)) return;
    if (stopped_ && termios_.has_input(kIxOn) && termios_.has_input(kIxAny)) start_output();
    if (c == '\r') {
        if (termios_.has_input(kIgnCr)) return;
        if (termios_.has_input(kIcrNl)) c = '\n';
    } else if (c == '\n' && termios_.has_input(kInlCr)) {
        c = '\r';
    }
    if (canonical() && receive_canonical(c)) return;
    if (local(kEcho)) {
        finish_erasing();
        if (c == '\n') {
            echo_raw('\n');
        } else {
            if (canon_head_ == head_) canon_column_ = column_;
            echo(c);
        }
    }
    if (c == 0xff && termios_.has_input(kParMrk)) put(c, false);
    put(c, false);
}

void LineDiscipline::receive_plain(uint8_t c) {
    if (stopped_ && termios_.has_input(kIxOn) && termios_.has_input(kIxAny)) start_output();
    if (local(kEcho)) {
        finish_erasing();
        if (canon_head_ == head_) canon_column_ = column_;
        echo(c);
    }
    if (c == 0xff && termios_.has_input(kParMrk)) put(c, false);
    put(c, false);
}

bool LineDiscipline::receive_flow(uint8_t c) {
    if (is_key(c, kVStart)) {
        start_output();
        return true;
    }
    if (is_key(c, kVStop)) {
        stop_output();
        return true;
    }
    return false;
}

bool LineDiscipline::receive_signal(uint8_t c) {
    const int signal = is_key(c, kVIntr)   ? kSignalInterrupt
                       : is_key(c, kVQuit) ? kSignalQuit
                       : is_key(c, kVSusp) ? kSignalSuspend
                                           : 0;
    if (!signal) return false;
    host_.signal_key(signal);
    if (!local(kNoFlsh)) {
        host_.discard_output();
        flush_input();
    }
    if (termios_.has_input(kIxOn)) start_output();
    if (local(kEcho)) echo(c);
    return true;
}

bool LineDiscipline::receive_canonical(uint8_t c) {
    const bool extended = local(kIExten);
    if (is_key(c, kVErase) || is_key(c, kVKill) || (is_key(c, kVWerase) && extended)) {
        erase(c);
        return true;
    }
    if (is_key(c, kVLnext) && extended) {
        literal_next_ = true;
        if (local(kEcho)) {
            finish_erasing();
            if (local(kEchoCtl)) {
                echo_raw('^');
                echo_raw('\b');
            }
        }
        return true;
    }
    if (is_key(c, kVReprint) && local(kEcho) && extended) {
        finish_erasing();
        echo(c);
        reprint_line();
        return true;
    }
    if (c == '\n') {
        if (local(kEcho) || local(kEchoNl)) echo_raw('\n');
        finish_line(c);
        return true;
    }
    if (is_key(c, kVEof)) {
        finish_line(0);
        return true;
    }
    if (is_key(c, kVEol) || (is_key(c, kVEol2) && extended)) {
        if (local(kEcho)) {
            if (canon_head_ == head_) canon_column_ = column_;
            echo(c);
        }
        if (c == 0xff && termios_.has_input(kParMrk)) put(c, false);
        finish_line(c);
        return true;
    }
    return false;
}

void LineDiscipline::finish_line(uint8_t c) {
    put(c, true);
    canon_head_ = head_;
}

void LineDiscipline::reprint_line() {
    echo_raw('\n');
    for (uint64_t i = canon_head_; i != head_; ++i) echo(at(i));
}

// --- editing

// The kill key; true if the characters have to be rubbed out one by one.
bool LineDiscipline::start_kill() {
    if (!local(kEcho)) {
        head_ = canon_head_;
        return false;
    }
    if (local(kEchoK) && local(kEchoKe) && local(kEchoE)) return true;
    head_ = canon_head_;
    finish_erasing();
    echo(key(kVKill));
    if (local(kEchoK)) echo_raw('\n');
    return false;
}

void LineDiscipline::erase(uint8_t pressed) {
    if (head_ == canon_head_) return;
    const bool single = is_key(pressed, kVErase);
    const bool word = !single && is_key(pressed, kVWerase) && local(kIExten);
    if (!single && !word && !start_kill()) return;
    bool seen_word = false;
    while (head_ != canon_head_) {
        uint64_t start = head_;
        do { --start; } while (is_continuation(at(start)) && start != canon_head_);
        const uint8_t c = at(start);
        if (is_continuation(c)) break;  // never half a character
        if (word) {
            if (is_word(c))
                seen_word = true;
            else if (seen_word)
                break;
        }
        const uint64_t end = head_;
        head_ = start;
        if (local(kEcho)) erase_echo(c, start, end, single);
        if (single) break;
    }
    if (head_ == canon_head_ && local(kEcho)) finish_erasing();
}

void LineDiscipline::erase_echo(uint8_t c, uint64_t start, uint64_t end, bool single) {
    if (local(kEchoPrt)) {
        if (!erasing_) {
            echo_raw('\\');
            erasing_ = true;
        }
        echo(c);
        for (uint64_t i = start + 1; i != end; ++i) echo_raw(at(i));
    } else if (single && !local(kEchoE)) {
        echo(key(kVErase));
    } else if (c == '\t') {
        erase_tab();
    } else {
        static constexpr uint8_t kRubOut[] = {'\b', ' ', '\b'};
        unsigned cells = 1;
        if (is_control(c)) cells = local(kEchoCtl) ? 2 : 0;
        for (unsigned i = 0; i < cells; ++i)
            for (uint8_t b : kRubOut) echo_raw(b);
    }
}

// Goes back over the columns that the tab behind head_ took: up to the one where the text before it ends.
void LineDiscipline::erase_tab() {
    unsigned cells = 0;
    bool after_tab = false;
    for (uint64_t i = head_; i != canon_head_ && !after_tab;) {
        const uint8_t c = at(--i);
        if (c == '\t')
            after_tab = true;
        else if (is_control(c))
            cells += local(kEchoCtl) ? 2 : 0;
        else if (!is_continuation(c))
            ++cells;
    }
    if (!after_tab) cells += canon_column_;
    static constexpr uint8_t kBack[] = {'\b', '\b', '\b', '\b', '\b', '\b', '\b', '\b'};
    const unsigned back = 8 - (cells & 7);
    emit(kBack, back);
    column_ -= std::min(column_, back);
}

void LineDiscipline::finish_erasing() {
    if (!erasing_) return;
    echo_raw('/');
    erasing_ = false;
}

void LineDiscipline::echo(uint8_t c) {
    if (local(kEchoCtl) && is_control(c) && c != '\t') {
        const uint8_t shown[] = {'^', static_cast<uint8_t>(c ^ 0100)};
        emit(shown, 2);
        column_ += 2;
        return;
    }
    echo_raw(c);
}

void LineDiscipline::echo_raw(uint8_t c) {
    if (termios_.has_output(kOPost))
        put_out(c, true);
    else
        emit(&c, 1);
}

// --- output

size_t LineDiscipline::write(std::span<const uint8_t> bytes) {
    if (!termios_.has_output(kOPost)) {
        const size_t size = std::min(bytes.size(), host_.output_room());
        if (size) emit(bytes.data(), size);
        return size;
    }
    size_t done = 0;
    while (done < bytes.size()) {
        // Runs of plain characters go out in one piece.
        const size_t limit = std::min(bytes.size() - done, host_.output_room());
        size_t run = 0;
        while (run < limit && !is_control(bytes[done + run]) && !termios_.has_output(kOlCuc)) {
            if (!is_continuation(bytes[done + run])) ++column_;
            ++run;
        }
        if (run) emit(bytes.data() + done, run);
        done += run;
        if (done == bytes.size()) break;
        if (run == limit && run > 0) continue;
        if (!put_out(bytes[done], false)) break;
        ++done;
    }
    return done;
}

bool LineDiscipline::put_out(uint8_t c, bool force) {
    const size_t room = force ? 8 : host_.output_room();
    if (room < 1) return false;
    switch (c) {
        case '\n':
            if (termios_.has_output(kOnlRet)) column_ = 0;
            if (termios_.has_output(kOnlCr)) {
                static constexpr uint8_t kNewLine[] = {'\r', '\n'};
                if (room < 2) return false;
                column_ = canon_column_ = 0;
                emit(kNewLine, 2);
                return true;
            }
            canon_column_ = column_;
            break;
        case '\r':
            if (termios_.has_output(kOnoCr) && column_ == 0) return true;
            if (termios_.has_output(kOcrNl)) {
                c = '\n';
                if (termios_.has_output(kOnlRet)) canon_column_ = column_ = 0;
                break;
            }
            canon_column_ = column_ = 0;
            break;
        case '\t': {
            const unsigned spaces = 8 - (column_ & 7);
            if ((termios_.oflag & kTabDelay) == kXTabs) {
                static constexpr uint8_t kSpaces[] = {' ', ' ', ' ', ' ', ' ', ' ', ' ', ' '};
                if (room < spaces) return false;
                column_ += spaces;
                emit(kSpaces, spaces);
                return true;
            }
            column_ += spaces;
            break;
        }
        case '\b':
            if (column_ > 0) --column_;
            break;
        default:
            if (!is_control(c)) {
                if (termios_.has_output(kOlCuc)) c = to_upper(c);
                if (!is_continuation(c)) ++column_;
            }
    }
    emit(&c, 1);
    return true;
}

}  // namespace kvmsbx::fs
