#include "chat_page.h"

static const char page[] = {
#embed "chat.html"
};

const char *swiftlet_chat_page(size_t *bytes) {
  *bytes = sizeof page;
  return page;
}
