// What every kernel family's table needs: a lookup by position and the choice of the best entry for some levels.
#ifndef APUS_TABLE_H
#define APUS_TABLE_H

#include <stddef.h>
#include <stdint.h>

// The name of a level's table, and the level as text, after expansion of a macro such as APUS_LEVEL.
#define APUS_NAME_OF(FAMILY, LEVEL) FAMILY##_##LEVEL
#define APUS_NAME(FAMILY, LEVEL) APUS_NAME_OF(FAMILY, LEVEL)
#define APUS_TEXT_OF(LEVEL) #LEVEL
#define APUS_TEXT(LEVEL) APUS_TEXT_OF(LEVEL)

/// Defines `NAME_at` and `NAME_select` over the array `TABLE` of pointers to `TYPE`, best first, `generic` last.
#define APUS_DEFINE_LOOKUP(TYPE, NAME, TABLE)                                    \
  const TYPE *NAME##_at(size_t index) {                                          \
    return index < sizeof TABLE / sizeof TABLE[0] ? TABLE[index] : NULL;         \
  }                                                                              \
  const TYPE *NAME##_select(uint32_t levels) {                                   \
    size_t i = 0;                                                                \
    const size_t last = sizeof TABLE / sizeof TABLE[0] - 1;                      \
    while (i < last && !((levels >> TABLE[i]->isa) & 1u)) i++;                   \
    return TABLE[i];                                                             \
  }

#endif
