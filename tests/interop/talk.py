"""What a control connection's lines mean: which command got which reply, and which announcements came about."""

import re

ANNOUNCING = ("PORT", "EPRT", "PASV", "EPSV")

# Telnet's interrupt and synch before ABOR, as the tap shows them.
TELNET = re.compile(r"^(\\x[0-9a-f]{2})+")
FINAL_REPLY = re.compile(r"^S: ([2-5][0-9][0-9]) ")


def commands_and_codes(lines: list[str]) -> list[tuple[str, str]]:
    """Each command's verb with the code of its final reply, empty where none came; replies come in order."""
    verbs = []
    for line in lines:
        if line.startswith("C: "):
            words = TELNET.sub("", line[3:]).split()
            verbs.append(words[0].upper() if words else "")
    codes = [match[1] for line in lines if (match := FINAL_REPLY.match(line))]
    # The first reply is the greeting.
    codes = codes[1:] + [""] * len(verbs)
    return list(zip(verbs, codes))


def missing(conversations: list[list[str]], announcing: str, verb: str | None) -> tuple[bool, str] | None:
    """What a step lacks on the wire, and whether any other step would lack it too; None where it lacks nothing."""
    if not conversations:
        return True, "makes no control connection"
    answers: dict[str, list[str]] = {}
    for lines in conversations:
        for name, code in commands_and_codes(lines):
            answers.setdefault(name, []).append(code)
    for lines in conversations:
        if not any(line.startswith("S: 2") for line in lines):
            return False, "gets no greeting"
    if answers.get("PASS") and not any(code.startswith("2") for code in answers["PASS"]):
        return False, f"is not let in: PASS is answered {answers['PASS'][0] or 'nothing'}"
    if verb and verb not in answers and announcing not in answers:
        return False, f"{verb} is not sent"
    used = [name for name in ANNOUNCING if any(code.startswith("2") for code in answers.get(name, []))]
    # After an abort some clients begin anew, in another mode.
    if used != [announcing] and not (verb == "ABOR" and announcing in used):
        instead = [name for name in used if name != announcing]
        shown = f", {' and '.join(instead)} instead" if instead else ""
        if announcing not in answers:
            return True, f"{announcing} is not sent{shown}"
        if announcing not in used:
            return True, f"{announcing} is answered {answers[announcing][0] or 'nothing'}{shown}"
        return True, f"{' and '.join(instead)} beside {announcing}"
    if verb and verb not in answers:
        return False, f"{verb} is not sent"
    if verb and not any(code[:1] in "23" and code or (verb in ("RETR", "ABOR") and code == "426") for code in answers[verb]):
        return False, f"{verb} is answered {answers[verb][0] or 'nothing'}"
    return None
