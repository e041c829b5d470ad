// Twice, as when two other headers include it.
#include "mlx_engine.h"
#include "mlx_engine.h"

static inline mlxe_str_t header_stub(void) { return mlxe_str("").len == 0 ? MLXE_STR("a") : mlxe_str("b"); }
