"""Light an LED for two seconds at each detection, on a Raspberry Pi.

    sudo apt install python3-lgpio     # once; and in kwspot's environment:
    pip install gpiozero lgpio
    python examples/gpio_led.py [RECORDING]

The LED, with its resistor, is between GPIO 17 (pin 11) and ground (pin 9). Without a recording it
hears the microphone, until Ctrl-C.
"""

import sys

try:
    from gpiozero import LED
except ImportError as error:
    sys.exit(f"this example needs gpiozero ({error}): pip install gpiozero lgpio")

from kwspot import KeywordDetector, Microphone

PIN = 17  # as Broadcom counts them
SECONDS = 2.0

led = LED(PIN)
source = sys.argv[1] if len(sys.argv) > 1 else Microphone()
for hit in KeywordDetector("alexa").listen(source):
    print(f"{hit.keyword} at {hit.end:.2f} s", flush=True)
    led.blink(on_time=SECONDS, n=1)  # in the background: listening goes on
