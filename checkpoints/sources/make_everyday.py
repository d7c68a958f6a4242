"""Makes everyday.jsonl: short everyday prompts with their kinds, written for this project.

Collections of prompts have few of them, and a router meets them all the time.
"""

import itertools
import json
from pathlib import Path

GREETINGS = (
    "Hello|Hi|Hi there|Hey|Good morning|Good evening|Hello!|Hey, how are you?|How are you today?|"
    "What's up?|Thanks!|Thank you so much|Great, thanks|ok|Nice to meet you|Bye|See you later|"
    "Good night|Who are you?|What can you do?|Are you a robot?|Can you help me?|I have a question|"
    "Tell me a joke|I am bored|How was your day?|Do you like music?|Happy birthday!|Test|test 123|"
    "Hallo|Guten Morgen|Bonjour|Salut, ça va ?|Hola|¿Cómo estás?|Ciao|Olá, tudo bem?|你好|こんにちは|"
    "Привет|Merci beaucoup|Danke schön|Gracias|You are funny|That was helpful|Sorry, never mind|"
    "Let's chat|What is your name?|Yes please|No, thanks|Cool|I am feeling sad today|Good job"
).split("|")

OPERATIONS = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}
NUMBERS = [2, 3, 7, 12, 15, 40, 99, 128, 1000]

RECIPIENTS = (
    "my landlord|my boss|a colleague|my teacher|the neighbours|a customer|my bank|the doctor|"
    "a friend|my team|the school|a supplier"
).split("|")
MATTERS = (
    "a broken heater|being late tomorrow|a day off|the meeting on Friday|an unpaid invoice|"
    "the noise at night|a birthday party|a new appointment|the delayed delivery|saying thank you"
).split("|")
FORMS = ("Write a short e-mail to {} about {}.", "Draft a brief message to {} about {}")


def rows():
    for number, text in enumerate(GREETINGS):
        yield "small_talk", text, number
        if text[-1].isalpha():
            yield "small_talk", text.lower() + "!", number
    for number, (a, b) in enumerate(itertools.product(NUMBERS, repeat=2)):
        sign, word = list(OPERATIONS.items())[number % 4]
        forms = (
            f"{a}{sign}{b}?",
            f"What is {a} {word} {b}?",
            f"{a} {sign} {b} =",
            f"calculate {a} {sign} {b}",
        )
        yield "quick_arithmetic", forms[number // 4 % 4], number
    for number, (who, what) in enumerate(itertools.product(RECIPIENTS, MATTERS)):
        yield "short_message", FORMS[number % 2].format(who, what), number


with open(Path(__file__).parent / "everyday.jsonl", "w") as file:
    for task, text, number in rows():
        row = {"query": text, "task": task, "source": f"r2router-everyday-{number % 3}"}
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
