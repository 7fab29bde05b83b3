#ifndef SWIFTLET_CHAT_PAGE_H
#define SWIFTLET_CHAT_PAGE_H

#include <stddef.h>

// The chat page, one self-contained HTML document in UTF-8, not terminated.
const char *swiftlet_chat_page(size_t *bytes);

#endif
