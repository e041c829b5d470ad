// Twice, as when two other headers include it.
#include "mlx_engine.h"
#include "mlx_engine.h"

mlxe_str_t header_stub(const char *text);

mlxe_str_t header_stub(const char *text) {
    return text == NULL ? MLXE_STR("nothing") : mlxe_str(text);
}
