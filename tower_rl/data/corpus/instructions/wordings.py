"""How a user asks for a translation, in English. The fields are filled by str.format; texts of rows are only ever arguments.

CARD is the form of Tower's public model card (huggingface.co/Unbabel/Tower-Plus-2B); the answer follows on its last line.
Where a wording ends in a space or on a new line, the answer follows at once when both are one text (as_text).
"""

CARD = "Translate the following {from_lang} source text to {to_lang}:\n{from_lang}: {source}\n{to_lang}: "

ENGLISH = (
    CARD,
    "Translate the source text from {from_lang} to {to_lang}.\nSource: {source}\nTarget: ",
    "Translate this from {from_lang} into {to_lang}:\n\n{source}",
    "Please translate the text below from {from_lang} into {to_lang}. Reply with the translation only.\n\n{source}",
    "{source}\n\nTranslate the above from {from_lang} to {to_lang}.",
    "{from_lang} text:\n{source}\n\nWrite it in {to_lang}.",
    "How would you say this in {to_lang}?\n\n{source}",
    "I need the following {from_lang} text in {to_lang}, without comments or explanations:\n\n{source}",
    "Source language: {from_lang}\nTarget language: {to_lang}\nText: {source}\nTranslation: ",
    "[{from_lang}]\n{source}\n\n[{to_lang}]\n",
    "Could you put this into {to_lang} for me? It is {from_lang}.\n\n{source}",
    "You are a professional translator from {from_lang} into {to_lang}. Translate the text between the lines of"
    " dashes.\n---\n{source}\n---",
    "Give me a faithful and fluent {to_lang} translation of this {from_lang} text.\n\n{source}",
    "Render the {from_lang} text below in natural {to_lang}. Keep its tone, its names and its numbers.\n\n{source}",
    "translate to {to_lang}:\n{source}",
    "{source}\n\n^ What does this say in {to_lang}?",
    "Task: translation, {from_lang} > {to_lang}\nInput: {source}\nOutput: ",
    "Below is a text in {from_lang}. Write what a native speaker of {to_lang} would write in its place.\n\n{source}",
    "Localise this text for readers of {to_lang}. Leave placeholders, tags and code as they are.\n\n{source}",
    "Our customers read {to_lang}. Translate this {from_lang} text for them; answer with nothing but the"
    " translation.\n\n{source}",
    "Translate into {to_lang}, keeping markup and line breaks where they are. The original is in {from_lang}.\n\n{source}",
    "Here is something in {from_lang}:\n\n{source}\n\nTell me what it says, in {to_lang}. Just the translation, please.",
    "<source>\n{source}\n</source>\n\nTranslate the content of <source> from {from_lang} to {to_lang}. Do not repeat"
    " the tags around it.",
    "I wrote this in {from_lang} and have to send it in {to_lang}. Translate it, please.\n\n{source}",
    "What is the {to_lang} translation of this text?\n\n{source}",
    "{from_lang}: {source}\n{to_lang}: ",
)

NATIVE = {
    "Chinese (Simplified)": ("请把下面的内容翻译成简体中文：\n\n{source}", "将以下文本译为简体中文，只输出译文。\n\n{source}"),
    "Chinese (Traditional)": ("請將以下文字翻譯成繁體中文：\n\n{source}", "把下面的內容譯成繁體中文，只需輸出譯文。\n\n{source}"),
    "Czech": ("Přelož následující text do češtiny:\n\n{source}", "Jak by tento text zněl v češtině?\n\n{source}"),
    "Danish": ("Oversæt følgende tekst til dansk:\n\n{source}", "Skriv teksten nedenfor på dansk.\n\n{source}"),
    "Dutch": (
        "Vertaal de volgende tekst naar het Nederlands:\n\n{source}",
        "Kun je dit in het Nederlands vertalen?\n\n{source}",
    ),
    "English": (
        "What does this say in English?\n\n{source}",
        "Please put the following into English:\n\n{source}",
    ),
    "French": (
        "Traduis le texte suivant en français :\n\n{source}",
        "Veuillez traduire ce texte en français, sans commentaire.\n\n{source}",
    ),
    "German": (
        "Übersetze den folgenden Text ins Deutsche:\n\n{source}",
        "Bitte übersetzen Sie diesen Text ins Deutsche und antworten Sie nur mit der Übersetzung.\n\n{source}",
    ),
    "Italian": (
        "Traduci in italiano il testo seguente:\n\n{source}",
        "Come si direbbe in italiano?\n\n{source}",
    ),
    "Japanese": (
        "次の文章を日本語に翻訳してください。\n\n{source}",
        "以下を自然な日本語に訳してください。訳文のみを答えてください。\n\n{source}",
    ),
    "Korean": (
        "다음 글을 한국어로 번역해 주세요.\n\n{source}",
        "아래 내용을 자연스러운 한국어로 옮겨 주세요. 번역문만 답하세요.\n\n{source}",
    ),
    "Polish": ("Przetłumacz poniższy tekst na polski:\n\n{source}", "Podaj polskie tłumaczenie tego tekstu.\n\n{source}"),
    "Portuguese (Brazilian)": (
        "Traduza o texto a seguir para o português do Brasil:\n\n{source}",
        "Como fica este texto em português brasileiro?\n\n{source}",
    ),
    "Portuguese (Portugal)": (
        "Traduza o texto seguinte para português europeu:\n\n{source}",
        "Traduz este texto para português de Portugal, sem comentários.\n\n{source}",
    ),
    "Russian": (
        "Переведи следующий текст на русский язык:\n\n{source}",
        "Переведите этот текст на русский. В ответе дайте только перевод.\n\n{source}",
    ),
    "Spanish": (
        "Traduce el siguiente texto al español:\n\n{source}",
        "¿Cómo se dice esto en español?\n\n{source}",
    ),
    "Spanish (Latin America)": (
        "Traduce el siguiente texto al español de Latinoamérica:\n\n{source}",
        "Escribe este texto en español latinoamericano.\n\n{source}",
    ),
    "Swedish": ("Översätt följande text till svenska:\n\n{source}", "Skriv texten nedan på svenska.\n\n{source}"),
    "Ukrainian": (
        "Переклади цей текст українською:\n\n{source}",
        "Перекладіть наведений нижче текст українською мовою.\n\n{source}",
    ),
}
"""By the English name of the target language: the same in that language, which the source need not be named for."""

POST_EDIT = (
    "Correct this machine translation from {from_lang} into {to_lang}. Reply with the corrected translation"
    " only.\n\nSource: {source}\nTranslation: {flawed}",
    "{from_lang} source:\n{source}\n\nDraft in {to_lang}:\n{flawed}\n\nThe draft is not right yet. Write the {to_lang}"
    " translation as it should be.",
    "A machine translated the text below from {from_lang} into {to_lang}. Post-edit its output: repair what is wrong"
    " and leave what is right.\n\n{from_lang}: {source}\n{to_lang} (machine): {flawed}\n{to_lang} (post-edited): ",
    "Something went wrong in this {to_lang} translation. Can you fix it?\n\nOriginal ({from_lang}): {source}\n"
    "Translation: {flawed}",
    "Post-editing task, {from_lang} to {to_lang}.\nSOURCE\n{source}\nMT\n{flawed}\nPE\n",
    "Compare the {to_lang} translation with its {from_lang} original and hand back a corrected version, without"
    " comments.\n\nOriginal:\n{source}\n\nTranslation:\n{flawed}",
)

ERROR_SPANS = (
    "Find the errors in this translation from {from_lang} into {to_lang}.\n\nSource: {source}\nTranslation: {shown}\n\n",
    "You review translations. Mark what is wrong in the {to_lang} text.\n\n{from_lang} source:\n{source}\n\n"
    "{to_lang} translation:\n{shown}\n\n",
    "Annotate the translation errors (MQM).\n{from_lang}: {source}\n{to_lang}: {shown}\n\n",
    "Is this {to_lang} translation from {from_lang} correct? List every error.\n\nOriginal: {source}\nTranslation: {shown}\n\n",
)
ANSWER_SPANS = (
    'Write one line for each error: "span": category, severity. Categories: {categories}. Severities: minor, major, critical.'
    " Where something is missing, quote it from the source. If there is no error, write: No errors"
)
"""What error_spans asks for, behind each of its wordings."""

CHOOSE_BETTER = (
    "Which of the two {to_lang} translations of this {from_lang} text is better? Answer A or B.\n\nSource: {source}\n\n"
    "A: {first}\n\nB: {second}",
    "{from_lang} source: {source}\n{to_lang} translation A: {first}\n{to_lang} translation B: {second}\n\nName the better"
    " translation with one letter, A or B.",
    "Two translators put the same text from {from_lang} into {to_lang}. Whose version is more accurate?\n\nText:\n"
    "{source}\n\nVersion A:\n{first}\n\nVersion B:\n{second}\n\nReply with A or B only.",
    "Compare two translations into {to_lang}.\n[Source, {from_lang}]\n{source}\n[A]\n{first}\n[B]\n{second}\nThe better one"
    " (A or B): ",
)

TERMINOLOGY = (
    "Translate from {from_lang} into {to_lang} with this glossary:\n{glossary}\n\n{source}",
    "Glossary ({from_lang} to {to_lang}):\n{glossary}\n\nUse the terms of the glossary in your {to_lang} translation"
    " of this text:\n{source}",
    "{source}\n\nPlease translate this {from_lang} text into {to_lang}. These terms are fixed:\n{glossary}",
    "You translate for a client who prescribes terms:\n{glossary}\n\nTranslate into {to_lang}; answer with the translation"
    " only.\n\n{from_lang}: {source}",
)

FORMALITY = (
    "Translate from {from_lang} into {to_lang}. {register}\n\n{source}",
    "{source}\n\nTranslate this {from_lang} text into {to_lang}. {register}",
    "Put the following {from_lang} text into {to_lang}. {register} Reply with the translation only.\n\n{source}",
    "Source language: {from_lang}\nTarget language: {to_lang}\nInstruction: {register}\nText: {source}\nTranslation: ",
)
REGISTERS = {
    "formal": (
        "Address the reader formally.",
        "Use the formal form of address.",
        "The reader is a customer whom we address formally.",
        "Register: formal.",
    ),
    "informal": (
        "Address the reader informally.",
        "Use the informal form of address.",
        "The reader is a friend and is addressed informally.",
        "Register: informal.",
    ),
}
