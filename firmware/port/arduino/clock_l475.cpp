/* The STM32L475's clock from its own oscillator: 80 MHz. The core would start it from the 32 kHz crystal by way of the
 * power control, which QEMU's chip does not have, and would wait for it without end. QEMU has no wait states either, so
 * there the PLL is refused and the clock stays at 16 MHz; the same image runs on the board and in QEMU.
 */
#if defined(ARDUINO_ARCH_STM32) && defined(STM32L475xx)
#include "framework.h"

extern "C" void SystemClock_Config(void)
{
    RCC_OscInitTypeDef oscillator = {};
    oscillator.OscillatorType = RCC_OSCILLATORTYPE_HSI;
    oscillator.HSIState = RCC_HSI_ON;
    oscillator.HSICalibrationValue = RCC_HSICALIBRATION_DEFAULT;
    oscillator.PLL.PLLState = RCC_PLL_ON;
    oscillator.PLL.PLLSource = RCC_PLLSOURCE_HSI;
    oscillator.PLL.PLLM = 1; /* 16 MHz * 10 / 2 */
    oscillator.PLL.PLLN = 10;
    oscillator.PLL.PLLP = RCC_PLLP_DIV7;
    oscillator.PLL.PLLQ = RCC_PLLQ_DIV2;
    oscillator.PLL.PLLR = RCC_PLLR_DIV2;
    const bool locked = HAL_RCC_OscConfig(&oscillator) == HAL_OK;

    RCC_ClkInitTypeDef clocks = {};
    clocks.ClockType = RCC_CLOCKTYPE_HCLK | RCC_CLOCKTYPE_SYSCLK | RCC_CLOCKTYPE_PCLK1 | RCC_CLOCKTYPE_PCLK2;
    clocks.SYSCLKSource = RCC_SYSCLKSOURCE_PLLCLK;
    clocks.AHBCLKDivider = RCC_SYSCLK_DIV1;
    clocks.APB1CLKDivider = RCC_HCLK_DIV1;
    clocks.APB2CLKDivider = RCC_HCLK_DIV1;
    if (locked && (HAL_RCC_ClockConfig(&clocks, FLASH_LATENCY_4) == HAL_OK)) {
        return;
    }
    clocks.SYSCLKSource = RCC_SYSCLKSOURCE_HSI;
    (void)HAL_RCC_ClockConfig(&clocks, FLASH_LATENCY_0);
}
#endif
