#include "reset.h"

#include "framework.h"

extern "C" {
#include "port/port.h"
}

#if defined(ARDUINO_ARCH_STM32)

/* Which flags there are differs from family to family. A software reset sets the pin's as well, and a power-on may. */
uint8_t reset_told(void)
{
    uint8_t cause = PORT_RESET_UNKNOWN;
#if defined(RCC_FLAG_PINRST)
    cause = __HAL_RCC_GET_FLAG(RCC_FLAG_PINRST) ? PORT_RESET_PIN : cause;
#endif
#if defined(RCC_FLAG_SFTRST)
    cause = __HAL_RCC_GET_FLAG(RCC_FLAG_SFTRST) ? PORT_RESET_SOFTWARE : cause;
#endif
#if defined(RCC_FLAG_IWDGRST) && defined(RCC_FLAG_WWDGRST)
    if (__HAL_RCC_GET_FLAG(RCC_FLAG_IWDGRST) || __HAL_RCC_GET_FLAG(RCC_FLAG_WWDGRST)) {
        cause = PORT_RESET_WATCHDOG;
    }
#endif
#if defined(RCC_FLAG_PORRST)
    cause = __HAL_RCC_GET_FLAG(RCC_FLAG_PORRST) ? PORT_RESET_POWER : cause;
#elif defined(RCC_FLAG_PWRRST)
    cause = __HAL_RCC_GET_FLAG(RCC_FLAG_PWRRST) ? PORT_RESET_POWER : cause;
#elif defined(RCC_FLAG_BORRST)
    cause = __HAL_RCC_GET_FLAG(RCC_FLAG_BORRST) ? PORT_RESET_POWER : cause;
#endif
#if defined(__HAL_RCC_CLEAR_RESET_FLAGS)
    __HAL_RCC_CLEAR_RESET_FLAGS();
#endif
    return cause;
}

#else

/* The chips of the other cores keep it in registers of their own, which boot loaders clear. */
uint8_t reset_told(void)
{
    return PORT_RESET_UNKNOWN;
}

#endif
